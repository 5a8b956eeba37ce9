// Looks at health_server as promtool, Prometheus and a browser do: test/check_metrics.sh says where these are. Each test is a
// line, `ok   name` or `FAILED name: why`. It waits for conditions, never for a time; what it starts gets free ports and one
// temporary folder, and ends with it.
//
// The browser is driven over pipes (--remote-debugging-pipe): JSON, each message ended by a NUL.
import { spawn, spawnSync } from 'node:child_process';
import { createServer } from 'node:net';
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { tmpdir } from 'node:os';
import path from 'node:path';

const { BUILD, CHROMIUM, CHROMIUM_FILES, CHROMIUM_LIBS, HEALTH_SERVER, PROMETHEUS, PROMTOOL } = process.env;
const SCENE_MS = 1000 * (process.env.HEALTH_SCENE_S ?? 5);
const PATIENCE_MS = 30000;
const MAX = 8;                          // connections of the pools here
const SERVER_SH = fileURLToPath(new URL('server.sh', import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), 'falkor-metrics.'));
const children = [];
let passed = 0, failed = 0;

// ---- words ---------------------------------------------------------------------------------------------------------

function check(condition, what) {
    if (!condition) throw new Error(what);
}

function checkEqual(found, wanted, what) {
    check(Object.is(found, wanted), `${what}: ${JSON.stringify(found)}, not ${JSON.stringify(wanted)}`);
}

// What ask brings once it is true; it may throw until then.
async function eventually(what, ask) {
    const until = Date.now() + PATIENCE_MS;
    for (let last = ''; ;) {
        try {
            const found = await ask();
            if (found) return found;
        } catch (error) {
            last = ` (${error.message})`;
        }
        check(Date.now() < until, `not within ${PATIENCE_MS / 1000} s: ${what}${last}`);
        await new Promise(resolve => setTimeout(resolve, 25));
    }
}

async function test(name, run) {
    try {
        await run();
        passed++;
        console.log(`ok     ${name}`);
    } catch (error) {
        failed++;
        console.log(`FAILED ${name}: ${error.message}`);
    }
}

// ---- programs ------------------------------------------------------------------------------------------------------

// The kernel ends it when this process dies, however it dies.
function start(program, args, options = {}) {
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', program, ...args], options);
    children.push(child);
    child.gone = new Promise(resolve => child.on('exit', resolve).on('error', resolve));
    return child;
}

async function stop(child) {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
    const late = setTimeout(() => child.kill('SIGKILL'), 5000);
    await child.gone;
    clearTimeout(late);
}

function logTo(name) {
    return openSync(path.join(folder, `${name}.log`), 'a');
}

// server.sh ends its server at the end of our input.
async function startDatabase() {
    const child = spawn(SERVER_SH, ['serve'], { stdio: ['pipe', 'pipe', logTo('database')] });
    children.push(child);
    child.gone = new Promise(resolve => child.on('exit', resolve).on('error', resolve));
    for await (const line of createInterface({ input: child.stdout })) {
        const [, port, pid] = /^FALKOR_SERVER port=(\d+) .*pid=(\d+)/.exec(line) ?? [];
        if (port) return { child, port: Number(port), pid: Number(pid) };
    }
    throw new Error('the database did not start');
}

// A health_server with more arguments, on a pool of MAX connections.
async function startHealth(database, ...args) {
    const child = start(HEALTH_SERVER, ['0', '--demo', ...args], {
        stdio: ['ignore', 'pipe', logTo('health')],
        env: { ...process.env, FALKORDB_URL: `falkor://127.0.0.1:${database.port}`, DB_POOL_MAX_SIZE: MAX, DB_POOL_MIN_SIZE: 2,
            DB_SOCKET_TIMEOUT: '0.5', DB_CONNECT_TIMEOUT: '0.5', DB_POOL_TIMEOUT: '20' },
    });
    for await (const line of createInterface({ input: child.stdout })) {
        const url = /^health_server: (http:.*)$/.exec(line)?.[1];
        if (!url) continue;
        await eventually('the pool is open', async () => (await health(url)).pool.initialized);
        return { child, url };
    }
    throw new Error('health_server did not start');
}

async function health(url) {
    return (await fetch(`${url}health`)).json();
}

// How many of POST /load's threads hold a connection, or wait for one; so do threads of the load of its own.
async function holding(server) {
    const { pool, connections } = await health(server.url);
    return pool.waiting + connections.filter(c => c.file?.includes('health_server')).length;
}

// Holds so many connections more, and waits until they are held, or waited for.
async function hold(server, threads, ms) {
    const wanted = await holding(server) + threads;
    const answer = await fetch(`${server.url}load?threads=${threads}&hold_ms=${ms}`, { method: 'POST' });
    checkEqual(answer.status, 202, 'POST /load');
    await eventually(`${threads} more connections are held`, async () => await holding(server) >= wanted);
}

// ---- promtool and Prometheus ---------------------------------------------------------------------------------------

async function promtoolAccepts(server) {
    const answer = await fetch(`${server.url}metrics`);
    checkEqual(answer.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8', 'Content-Type');
    const text = await answer.text();
    const { status, stdout, stderr } = spawnSync(PROMTOOL, ['check', 'metrics'],
        { input: text, encoding: 'utf8', timeout: 20000 });
    check(status === 0 && !stdout && !stderr, `promtool said: ${stdout}${stderr}`);
    return text;
}

function freePort() {
    return new Promise((resolve, reject) => {
        const server = createServer().on('error', reject).listen(0, '127.0.0.1', () => {
            const { port } = server.address();
            server.close(() => resolve(port));
        });
    });
}

// A port is free only until somebody takes it: the one that answers must be ours, by what it scrapes.
async function startPrometheus(server) {
    const target = new URL(server.url).host, file = path.join(folder, 'prometheus.yml');
    writeFileSync(file, ['global: {scrape_interval: 250ms, scrape_timeout: 250ms}', 'scrape_configs:', '- job_name: pool',
        `  static_configs: [{targets: ["${target}"]}]`, ''].join('\n'));
    for (let tries = 0; tries < 5; tries++) {
        const url = `http://127.0.0.1:${await freePort()}/api/v1/`;
        const log = logTo('prometheus');
        const child = start(PROMETHEUS, [`--config.file=${file}`, `--web.listen-address=${new URL(url).host}`,
            `--storage.tsdb.path=${path.join(folder, 'prometheus')}`], { stdio: ['ignore', log, log] });
        const ours = await eventually('Prometheus answers', async () => {
            if (child.exitCode !== null) return 'ended';
            return (await (await fetch(`${url}status/config`)).text()).includes(target) ? 'ours' : 'another';
        });
        if (ours === 'ours') return { child, url };
        await stop(child);
    }
    throw new Error('Prometheus found no free port');
}

// The value of an instant query; null while there is none.
async function asked(prometheus, query) {
    const answer = await (await fetch(`${prometheus.url}query?query=${encodeURIComponent(query)}`)).json();
    checkEqual(answer.status, 'success', query);
    const value = answer.data.result[0]?.value[1];
    return value === undefined ? null : Number(value);
}

async function testPrometheus(database) {
    const odd = await startHealth(database, '--name', 'a "pool" \\ of\nodd {names}, é #1');
    await test('promtool accepts an idle pool with an odd name', async () => {
        const text = await promtoolAccepts(odd);
        check(text.includes('pool="a \\"pool\\" \\\\ of\\nodd {names}, é #1"'), 'the label is not escaped');
    });
    await stop(odd.child);

    const server = await startHealth(database, '--load', '4', '--name', 'scraped');
    await test('promtool accepts a pool under load', async () => {
        await eventually('a hundred queries', async () => (await health(server.url)).pool.total_queries > 100);
        await hold(server, 3, 5000);
        await promtoolAccepts(server);
    });
    await stop(server.child);

    const held = await startHealth(database, '--name', 'held');
    const prometheus = await startPrometheus(held);
    await test('Prometheus scrapes it', () =>
        eventually('up', async () => await asked(prometheus, 'up{job="pool"}') === 1));
    await test('Prometheus knows how much is in use', async () => {
        await eventually('nothing is in use', async () => await asked(prometheus, 'falkorpool_utilization_ratio') === 0);
        await hold(held, 3, 60000);
        await eventually('3 of 8', async () =>
            await asked(prometheus, 'falkorpool_utilization_ratio{pool="held"}') === 3 / MAX);
        await eventually('3 active', async () => await asked(prometheus, 'falkorpool_connections{state="active"}') === 3);
    });
    await test('Prometheus computes a percentile of dials', () => eventually('a percentile', async () =>
        await asked(prometheus, 'histogram_quantile(0.95, falkorpool_dial_duration_seconds_bucket)') > 0));
    await test('Prometheus sees who waits', async () => {
        await hold(held, MAX, 60000);
        await eventually('3 wait', async () => await asked(prometheus, 'falkorpool_waiting_threads') === 3);
        checkEqual(await asked(prometheus, 'falkorpool_health_verdict'), 2, 'falkorpool_health_verdict');
    });
    await stop(prometheus.child);
    await stop(held.child);
}

// ---- the browser ---------------------------------------------------------------------------------------------------

// Fonts that were unpacked are no others' business.
function startChromium() {
    const fonts = path.join(folder, 'fonts.conf');
    writeFileSync(fonts, `<fontconfig><include ignore_missing="yes">/etc/fonts/fonts.conf</include>` +
        `<dir>${CHROMIUM_FILES}/usr/share/fonts</dir><cachedir>${folder}/fonts</cachedir></fontconfig>`);
    const libs = [CHROMIUM_LIBS, process.env.LD_LIBRARY_PATH].filter(Boolean).join(':');
    const child = start(CHROMIUM, ['--headless=new', '--remote-debugging-pipe', '--no-sandbox', '--disable-gpu',
        '--disable-dev-shm-usage', '--disable-background-networking', '--disable-component-update', '--disable-sync',
        '--no-pings', '--no-first-run', '--hide-scrollbars', `--user-data-dir=${path.join(folder, 'profile')}`, 'about:blank'], {
        stdio: ['ignore', logTo('chromium'), logTo('chromium'), 'pipe', 'pipe'],
        env: { ...process.env, FONTCONFIG_FILE: fonts, HOME: folder, ...(libs && { LD_LIBRARY_PATH: libs }) } });
    const waiting = new Map(), listeners = [];
    let number = 0, rest = '';
    child.stdio[4].setEncoding('utf8').on('data', text => {
        const messages = (rest + text).split('\0');
        rest = messages.pop();
        for (const message of messages.map(m => JSON.parse(m))) {
            const { resolve, reject } = waiting.get(message.id) ?? {};
            waiting.delete(message.id);
            if (message.error) reject(new Error(message.error.message));
            else if (resolve) resolve(message.result);
            else listeners.forEach(listen => listen(message));
        }
    });
    const ended = () => waiting.forEach(({ reject }) => reject(new Error('Chromium ended')));
    child.stdio[3].on('error', ended);
    child.gone.then(ended);
    const send = (method, params = {}, sessionId = undefined) => new Promise((resolve, reject) => {
        waiting.set(++number, { resolve, reject });
        child.stdio[3].write(`${JSON.stringify({ id: number, method, params, sessionId })}\0`);
    });
    return { child, send, listen: listener => listeners.push(listener) };
}

// A tab that keeps what it complained of, and whom it asked.
async function openTab(chromium, url, width = 1180, height = 900) {
    const { targetId } = await chromium.send('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await chromium.send('Target.attachToTarget', { targetId, flatten: true });
    const send = (method, params) => chromium.send(method, params, sessionId);
    const complaints = [], requests = [];
    chromium.listen(message => {
        if (message.sessionId !== sessionId) return;
        const { method, params } = message;
        if (method === 'Runtime.exceptionThrown') complaints.push(params.exceptionDetails.exception?.description);
        // An answer of 503, or none, is logged as an error of the network.
        if (method === 'Log.entryAdded' && params.entry.level === 'error' && params.entry.source !== 'network')
            complaints.push(params.entry.text);
        if (method === 'Network.requestWillBeSent') requests.push(params.request.url);
    });
    for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await send(`${domain}.enable`);
    const resize = (w, h, mobile = false) =>
        send('Emulation.setDeviceMetricsOverride', { width: w, height: h, deviceScaleFactor: mobile ? 2 : 1, mobile });
    await resize(width, height);
    await send('Page.navigate', { url });
    const run = async expression => {
        const { result, exceptionDetails } = await send('Runtime.evaluate',
            { expression, returnByValue: true, awaitPromise: true });
        check(!exceptionDetails, exceptionDetails?.exception?.description);
        return result.value;
    };
    const text = id => run(`document.getElementById(${JSON.stringify(id)})?.textContent`);
    const colours = value => send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value }] });
    return { send, run, text, resize, colours, complaints, requests,
        close: () => chromium.send('Target.closeTarget', { targetId }) };
}

async function shoot(tab, name) {
    const { cssContentSize: size } = await tab.send('Page.getLayoutMetrics');
    const { data } = await tab.send('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true,
        clip: { x: 0, y: 0, width: size.width, height: size.height, scale: 1 } });
    const file = path.join(BUILD, `health-${name}.png`);
    writeFileSync(file, Buffer.from(data, 'base64'));
    check(readFileSync(file).length > 20000, `${name}: nothing is drawn`);
}

const shown = (tab, id, wanted) => eventually(`#${id} is ${wanted}`, async () => {
    const found = await tab.text(id);
    check(found === String(wanted), `it is ${found}`);
    return true;
});

const faults = tab => tab.run(`Object.fromEntries(["pool", "server", "program"].map(
    name => [name, document.getElementById("fault-" + name).dataset.verdict]))`);

async function testPage(database) {
    const chromium = startChromium();
    const server = await startHealth(database, '--load', '3', '--name', 'orders');
    const tab = await openTab(chromium, server.url);

    await test('the page shows an open pool', async () => {
        await shown(tab, 'verdict', 'OK');
        await shown(tab, 'name', 'orders');
        await shown(tab, 'max', MAX);
        check(await tab.run('document.title') === 'orders', 'the title');
        check(Object.values(await faults(tab)).every(verdict => verdict === 'OK'), 'somebody is at fault');
    });
    await test('the page shows how many queries there are, and how long they take', async () => {
        await eventually('some are drawn', () =>
            tab.run('seen.length > 2 && Number(document.getElementById("throughput").textContent) > 0'));
        // The page's own newest answer, for the next one of /health may be another.
        check(await tab.run(`document.getElementById("query-p95").textContent ===
            number(last.latency.query.p95_ms) + " ms" && last.latency.query.p95_ms > 0`), 'the time of queries');
        check(await tab.run('document.querySelectorAll("#chart-throughput path").length') >= 1, 'nothing is drawn');
    });
    await test('the scene that is photographed', async () => {
        const until = Date.now() + SCENE_MS;
        while (Date.now() < until) {
            await hold(server, 1 + Math.floor(Math.random() * 4), 2500);
            await eventually('they are done', async () => await holding(server) === 0);
        }
        check(await tab.run('seen.length') > 2, 'nothing was seen');
    });
    await test('the page turns CRITICAL when the pool is exhausted', async () => {
        await hold(server, MAX + 4, 8000);
        await shown(tab, 'verdict', 'CRITICAL');
        checkEqual((await fetch(`${server.url}health`)).status, 503, '/health');
        await shown(tab, 'active', MAX);
        check(Number(await tab.text('waiting')) >= 4, `waiting: ${await tab.text('waiting')}`);
        const { pool, server: database } = await faults(tab);
        check(pool === 'CRITICAL' && database === 'OK', 'the pool is not the one at fault');
        check((await tab.run('document.title')).startsWith('CRITICAL'), 'the title');
        check(await tab.run('document.querySelectorAll("#connections tr").length') === MAX, 'the table of connections');
        await eventually('it is drawn', () => tab.run('seen.filter(point => point.waiting >= 4).length > 3'));
    });
    const kinds = [['light', 'light', 1180], ['dark', 'dark', 1180], ['phone', 'light', 390, true]];
    for (const [name, scheme, width, mobile] of kinds)
        await test(`a screenshot: ${name}`, async () => {
            await tab.colours(scheme);
            await tab.resize(width, 844, Boolean(mobile));
            const [back, inner, whole] = await tab.run(
                '[getComputedStyle(document.body).backgroundColor, innerWidth, document.documentElement.scrollWidth]');
            check(whole <= inner, `${whole} wide in a window of ${inner}`);
            checkEqual(Number(/\d+/.exec(back)[0]) > 127, scheme === 'light', `the colour ${back}`);
            await shoot(tab, name);
        });
    await tab.resize(1180, 900);
    await test('the page turns OK again', async () => {
        await shown(tab, 'verdict', 'OK');
        checkEqual((await fetch(`${server.url}health`)).status, 200, '/health');
    });
    await test('the page says when nobody answers, and when somebody does again', async () => {
        server.child.kill('SIGSTOP');
        await eventually('it is stale', () => tab.run('!document.getElementById("stale").hidden'));
        check((await tab.text('stale')).includes('/health does not answer'), await tab.text('stale'));
        server.child.kill('SIGCONT');
        await eventually('it is not stale', () => tab.run('document.getElementById("stale").hidden'));
    });
    await test('the page says that a silent server is at fault', async () => {
        process.kill(database.pid, 'SIGSTOP');
        try {
            await shown(tab, 'verdict', 'CRITICAL');
            await eventually('the server is at fault', async () => (await faults(tab)).server === 'CRITICAL');
            check((await tab.text('fault-server')).includes('does not answer INFO'), await tab.text('fault-server'));
            await eventually('the event', async () => (await tab.text('events')).includes('circuit opened'));
        } finally {
            process.kill(database.pid, 'SIGCONT');
        }
        await eventually('the server answers', async () => (await health(server.url)).server);
    });
    await test('the page asks nobody else, and complains of nothing', () => {
        const others = tab.requests.filter(url => !url.startsWith(server.url) && !url.startsWith('data:'));
        check(!others.length, `it asked ${others}`);
        check(!tab.complaints.length, tab.complaints.join('; '));
    });
    await tab.close();
    await stop(server.child);

    await test('a name that is HTML is text', async () => {
        const name = '<img src=x onerror="document.title=1">';
        const odd = await startHealth(database, '--name', name);
        const page = await openTab(chromium, odd.url);
        await shown(page, 'name', name);
        checkEqual(await page.run('document.querySelectorAll("img").length'), 0, 'pictures');
        check(!page.complaints.length, page.complaints.join('; '));
        await stop(odd.child);
    });
    await stop(chromium.child);
}

// ---- all of it -----------------------------------------------------------------------------------------------------

// server.sh gets the signal that it cleans up at. A folder can go when nobody writes into it any more.
async function clean() {
    for (const child of children)
        if (child.exitCode === null) child.kill(child.spawnfile === SERVER_SH ? 'SIGTERM' : 'SIGKILL');
    await Promise.all(children.map(child => child.gone));
    rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
}
for (const [signal, number] of [['SIGINT', 2], ['SIGTERM', 15], ['SIGHUP', 1]])
    process.once(signal, () => clean().finally(() => process.exit(128 + number)));

try {
    const database = await startDatabase();
    await testPrometheus(database);
    await testPage(database);
} catch (error) {
    failed++;
    console.log(`FAILED ${error.message}`);
    for (const name of ['database', 'health', 'prometheus', 'chromium'])
        try {
            console.log(readFileSync(path.join(folder, `${name}.log`), 'utf8').split('\n').slice(-8).join('\n'));
        } catch { /* it was not started */ }
}
await clean();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed || !passed ? 1 : 0);
