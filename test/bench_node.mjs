// The official Node client as a peer of test/sides.c. For each line "MILLISECONDS CONNECTIONS LOOPS" on its input it asks
// RETURN 1 by so many concurrent loops, over so many connections, and prints how many answers a second it had read. The
// client keeps one connection, over which it pipelines what is asked at once; its option poolOptions has had no effect since
// it uses version 5 of redis. So a pool of 20 is 20 clients, and of the user's own making.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import path from 'node:path';

const MOST = 20;
const require = createRequire(path.resolve(process.env.BUILD || 'build', 'node', 'x.js'));
const { FalkorDB } = require('falkordb');

const clients = await Promise.all(Array.from({ length: MOST }, () => FalkorDB.connect({ url: process.env.FALKORDB_URL })));
const graphs = clients.map((client) => client.selectGraph('bench'));
let sum = 0;

async function loop(graph, end) {
    let done = 0;
    while (performance.now() < end) {
        const { data } = await graph.roQuery('RETURN 1');
        for (const row of data) for (const name in row) sum += row[name];
        done++;
    }
    return done;
}

async function rate(ms, connections, count) {
    const begin = performance.now();
    const loops = Array.from({ length: count }, (_, i) => loop(graphs[i % connections], begin + ms));
    const done = (await Promise.all(loops)).reduce((a, b) => a + b, 0);
    return done * 1000 / (performance.now() - begin);
}

for await (const line of createInterface({ input: process.stdin })) {
    const [ms, connections, count] = line.split(' ').map(Number);
    console.log((await rate(ms, connections, count)).toFixed(1));
}
await Promise.all(clients.map((client) => client.close()));
if (!(sum > 0)) process.exitCode = 1;
