// Sends every query of test/queries/*.cypher through falkor-cli --json and through the official Node client, and compares:
// columns, values, statistics, error texts. Each file has two graphs of its own, one a client, of the same history: ids and
// the order of rows are the same too. It knows both clients' outputs and maps the Node client's objects to the JSON of
// falkor-cli; the types are counted from the raw replies, which it taps from beneath the Node client.
//
// A file is a script that falkor-cli could run as well. A statement ends with a semicolon at the end of a line. Before it may
// stand: `:param NAME JSON`, a parameter from here on; `// differs: CLASS`, one of DIFFERENCES below;
// `// constraint: UNIQUE|MANDATORY NODE|RELATIONSHIP LABEL PROPERTY...`, one to create. Other lines that begin with // are
// headings. The server builds indexes and constraints, and what is left of an index that lost a property, behind its reply,
// and answers as before until it is done: after each change of one, both graphs are waited for. (Not after one that it
// refused: listing indexes after "Index supports constraint" crashes FalkorDB 4.16.3.)
import { spawn } from 'node:child_process';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import path from 'node:path';

const FOLDER = fileURLToPath(new URL('queries/', import.meta.url));
const require = createRequire(path.join(process.env.FALKOR_NODE, 'x.js'));
const { FalkorDB, Graph } = require('falkordb');
const { Temporal } = require('@js-temporal/polyfill');
const SHOWN = 10;                       // differing queries that a test prints
const LIMIT_MS = 20000;                 // for one query
const LEAST_QUERIES = 1000, MOST_OF_A_TEMPLATE = 20;

// ---- differences that are known ------------------------------------------------------------------------------------
// A query names its class in the file. Whatever else differs there is a failure, and so is a query whose difference is gone.

const DIFFERENCES = {
    'large integer': {
        reason: 'near 2^53 and beyond the Node client rounds integers, for its numbers are doubles; falkor-cli has every digit',
        holds: (cli, node) => Math.abs(Number(cli)) > 2 ** 53 - 64 && typeof node === 'number' &&
            Math.abs(Number(cli) - node) <= Math.abs(node) * 2 ** -50,
    },
    'infinity': {
        reason: 'the server writes inf, which JavaScript\'s parseFloat takes for no number: the Node client says NaN',
        holds: (cli, node) => /^-?Infinity$/.test(cli) && node === 'NaN',
    },
    'float of 32 bits': {
        reason: 'falkor-cli prints the shortest text that reads back as the same float; the Node client widens it to a double',
        holds: (cli, node) => cli !== node && Math.fround(cli) === node,
    },
    'largest double': {
        reason: 'the server rounds it up to a text that is beyond every double: the Node client says Infinity',
        holds: (cli, node) => Math.abs(cli) === Number.MAX_VALUE && Math.abs(node) === Infinity,
    },
    'error text not UTF-8': {
        reason: 'the server cuts a character in two; falkorpool puts a question mark there, the Node client U+FFFD',
        holds: (cli, node) => cli !== node && cli === node.replaceAll('\ufffd', '?'),
    },
};

// ---- reading the queries -------------------------------------------------------------------------------------------

function readQueries(file) {
    const queries = [];
    let next = { params: {}, given: {}, text: '' };
    readFileSync(path.join(FOLDER, file), 'utf8').split('\n').forEach((line, at) => {
        const [, word, rest] = /^\/\/ (differs|constraint)\b:? ?(.*)$/.exec(line) ?? [];
        const param = /^:param (\w+) (.*)$/.exec(line);
        if (next.text === '' && word) next[word] = rest || true;
        else if (next.text === '' && param) next.params[param[1]] = next.given[param[1]] = param[2];
        else if (next.text !== '' || !/^(\/\/|\s*$)/.test(line)) {
            next.line ??= at + 1;
            next.text += `${line}\n`;
            if (!/;\s*$/.test(line)) return;
            next.text = next.text.replace(/;\s*$/, '');
            queries.push({ ...next, where: `${file}:${next.line}` });
            next = { params: { ...next.params }, given: {}, text: '' };
        }
    });
    if (next.text !== '') throw new Error(`${file}: the last statement has no semicolon`);
    return queries;
}

// ---- counting what they cover --------------------------------------------------------------------------------------

// The text without what stands in quotes, backticks and comments.
const bare = (text) => text
    .replace(/'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"/gs, '\'\'')
    .replace(/`[^`]*`/g, 'quoted')
    .replace(/\/\*.*?\*\/|\/\/[^\n]*/gs, ' ');

const CLAUSES = {
    'MATCH': /(?<!OPTIONAL\s+|ON\s+)\bMATCH\b/, 'OPTIONAL MATCH': /\bOPTIONAL\s+MATCH\b/, 'WHERE': /\bWHERE\b/,
    'RETURN': /\bRETURN\b/, 'RETURN *': /\bRETURN\s+\*/, 'DISTINCT': /\bDISTINCT\b/, 'AS': /\bAS\b/,
    'ORDER BY': /\bORDER\s+BY\b/, 'DESC': /\bDESC(ENDING)?\b/, 'SKIP': /\bSKIP\b/, 'LIMIT': /\bLIMIT\b/,
    'WITH': /(?<!STARTS\s+|ENDS\s+)\bWITH\b(?!\s+HEADERS)/, 'UNWIND': /\bUNWIND\b/,
    'CREATE': /\bCREATE\b(?!\s+((VECTOR|FULLTEXT)\s+)?INDEX)/, 'MERGE': /\bMERGE\b/, 'ON CREATE SET': /\bON\s+CREATE\s+SET\b/,
    'ON MATCH SET': /\bON\s+MATCH\s+SET\b/, 'SET': /\bSET\b/, 'SET +=': /\bSET\b[^]*\+=/,
    'SET label': /\bSET\s+\w+(:\w+)+/, 'REMOVE': /\bREMOVE\b/, 'REMOVE label': /\bREMOVE\s+\w+:\w+/,
    'DELETE': /(?<!DETACH\s+)\bDELETE\b/, 'DETACH DELETE': /\bDETACH\s+DELETE\b/, 'UNION': /\bUNION\b(?!\s+ALL)/,
    'UNION ALL': /\bUNION\s+ALL\b/, 'FOREACH': /\bFOREACH\b/, 'CALL procedure': /\bCALL\s+[A-Z]/, 'YIELD': /\bYIELD\b/,
    'CALL {}': /\bCALL\s*\{/, 'LOAD CSV': /\bLOAD\s+CSV\s+FROM\b/, 'LOAD CSV WITH HEADERS': /\bLOAD\s+CSV\s+WITH\s+HEADERS\b/,
    'FIELDTERMINATOR': /\bFIELDTERMINATOR\b/, 'CASE': /\bCASE\b/, 'AND': /\bAND\b/, 'OR': /\bOR\b/, 'XOR': /\bXOR\b/,
    'NOT': /\bNOT\b/, 'IN': /\bIN\b/, 'IS NULL': /\bIS\s+NULL\b/, 'IS NOT NULL': /\bIS\s+NOT\s+NULL\b/,
    'STARTS WITH': /\bSTARTS\s+WITH\b/, 'ENDS WITH': /\bENDS\s+WITH\b/, 'CONTAINS': /\bCONTAINS\b/,
    'list comprehension': /\[\s*\w+\s+IN\b/, 'pattern comprehension': /\[\s*(\w+\s*=\s*)?\([^|]*\)\s*<?-[^|]*\|/,
    'map projection': /\w\s*\{\s*\./, 'pattern predicate': /\bWHERE\s+(NOT\s+)?\(\w*[^=]*\)\s*<?-/, 'exists': /\bEXISTS\s*\(/,
    'all': /\bALL\s*\(/, 'any': /\bANY\s*\(/, 'none': /\bNONE\s*\(/, 'single': /\bSINGLE\s*\(/, 'reduce': /\bREDUCE\s*\(/,
    'shortestPath': /(?<!ALL)SHORTESTPATH\s*\(/, 'allShortestPaths': /\bALLSHORTESTPATHS\s*\(/,
    'variable length': /\[[^\]]*\*\s*\d*(\.\.\d*)?[^\]]*\]\s*-/, 'named path': /\bMATCH\s+\w+\s*=\s*\(/,
    'parameter': /\$\w/, 'CYPHER parameters': /^CYPHER\b/, 'subscript': /\w\s*\[\s*-?\w+\s*\]/,
    'slice': /\[[^\]|]*\.\.[^\]]*\]/,
    'CREATE INDEX': /\bCREATE\s+INDEX\b/, 'DROP INDEX': /\bDROP\s+INDEX\b/, 'FULLTEXT INDEX': /\bFULLTEXT\s+INDEX\b/,
    'VECTOR INDEX': /\bVECTOR\s+INDEX\b/, 'relationship type alternatives': /\[\w*:\w+\|:?\w+/,
    'undirected relationship': /\)\s*-(\[[^\]]*\])?-\s*\(/, 'incoming relationship': /<-/,
};
const TYPES = [, 'null', 'string', 'integer', 'boolean', 'double', 'array', 'edge', 'node', 'path', 'map', 'point', 'vectorf32',
    'datetime', 'date', 'time', 'duration'];

const count = (counts, key) => counts.set(key, (counts.get(key) ?? 0) + 1);

// A query's form: without its literals, the names of functions and columns, and the number of a list's elements.
const templateOf = (query) => bare(query.text)
    .replace(/\b(true|false|null)\b/gi, '?').replace(/''/g, '?').replace(/\$\w+/g, '?')
    .replace(/(?<![\w$])[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\b/g, '?')
    .replace(/\b[A-Za-z][\w.]*\(/g, 'f(').replace(/ AS \w+/gi, '')
    .replace(/\?(\s*,\s*\?)+/g, '?').replace(/\s+/g, ' ').trim().toUpperCase();

// The cells of a compact reply, at any depth.
function countTypes([type, value], counts, nested) {
    const inner = (cell) => countTypes(cell, counts, true);
    count(counts, TYPES[type]);
    if (nested) count(counts, `${TYPES[type]} (inner)`);
    if (type === 6) value.forEach(inner);
    else if (type === 7) value[4].forEach(([, ...cell]) => inner(cell));
    else if (type === 8) value[2].forEach(([, ...cell]) => inner(cell));
    else if (type === 9) value.forEach(([, items]) => items.forEach(inner));
    else if (type === 10) value.forEach((cell, at) => at % 2 && inner(cell));
}

// ---- the two clients -----------------------------------------------------------------------------------------------

// JSON with every digit of an integer: those that a double cannot hold become BigInt.
function parseLossless(text) {
    const marked = text.replace(/"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?/g, (token) =>
        /^-?\d+$/.test(token) && !Number.isSafeInteger(Number(token)) ? `{"\\u0000":"${token}"}` : token);
    return JSON.parse(marked, (key, value) =>
        value !== null && typeof value === 'object' && '\0' in value ? BigInt(value['\0']) : value);
}

function limited(promise, what) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`${what}: no answer in ${LIMIT_MS} ms`)), LIMIT_MS);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// One falkor-cli for a file: a statement goes in, a line comes out.
class Cli {
    constructor(graph) {
        this.child = spawn(path.join(process.env.FALKOR_OUT, 'falkor-cli'),
            ['-u', url, '-g', graph, '--json', '--keep-going'], { stdio: ['pipe', 'pipe', 'inherit'] });
        this.ended = new Promise((resolve) => this.child.on('close', resolve));
        this.lines = createInterface({ input: this.child.stdout, crlfDelay: Infinity })[Symbol.asyncIterator]();
        this.child.stdin.on('error', () => {});
    }
    async run({ text, given }) {
        const params = Object.entries(given).map(([name, json]) => `:param ${name} ${json}\n`).join('');
        this.child.stdin.write(`${params}${text};\n`);
        const { value, done } = await limited(this.lines.next(), 'falkor-cli');
        if (done) throw new Error(`falkor-cli ended with status ${await this.ended}`);
        const reply = parseLossless(value);
        return reply.error ? { error: reply.error.message } : reply;
    }
    async end() {
        this.child.stdin.end();
        return this.ended;
    }
}

const COUNTS = { 'Nodes created': 'nodes_created', 'Nodes deleted': 'nodes_deleted', 'Relationships created': 'edges_created',
    'Relationships deleted': 'edges_deleted', 'Labels added': 'labels_added', 'Labels removed': 'labels_removed',
    'Properties set': 'properties_set', 'Properties removed': 'properties_removed', 'Indices created': 'indices_created',
    'Indices deleted': 'indices_deleted', 'Constraints created': 'constraints_created',
    'Constraints deleted': 'constraints_deleted' };

// What each client has of its own: the server's time, and whether the query stood in its cache, where the clients' own
// queries for names go too.
const PRIVATE = ['Query internal execution time', 'Cached execution', 'internal_ms', 'cached'];

// The statistics as falkor-cli names them; one that is not known here becomes a difference.
function summaryOf(metadata) {
    const summary = Object.fromEntries(Object.values(COUNTS).map((name) => [name, 0]));
    for (const line of metadata) {
        const [name, value] = line.split(': ');
        if (!PRIVATE.includes(name)) summary[COUNTS[name] ?? name] = parseFloat(value);
    }
    return summary;
}

// A graph of the Node client, and the raw reply of its last query: the Graph class is given a connection that keeps it.
class Node {
    constructor(connection, name) {
        const ask = async (command, graph, query, options, compact = true) => {
            const reply = await connection.falkordb[command](graph, query, options, compact);
            if (compact) this.raw = reply;
            return reply;
        };
        this.graph = new Graph({ query: (...given) => ask('query', ...given), roQuery: (...given) => ask('roQuery', ...given) },
            name);
    }
    async run({ text, params }) {
        const given = Object.entries(params).map(([name, json]) => [name, JSON.parse(json)]);
        const options = given.length > 0 ? { params: Object.fromEntries(given) } : undefined;
        this.raw = undefined;
        try {
            const { data, metadata } = await limited(this.graph.query(text, options), 'the Node client');
            const columns = (this.raw.headers ?? []).map(([, name]) => name);
            const rows = (data ?? []).map((row) => columns.map((name) => toCliForm(row[name])));
            return { columns, rows, summary: summaryOf(metadata) };
        } catch (error) {
            return this.raw ? { thrown: error.message } : { error: error.message };
        }
    }
}

const two = (number) => String(number).padStart(2, '0');
const sign = (year) => year > 9999 ? '+' : year < 0 ? '-' : '';
const dateText = ({ year, month, day }) =>
    `${sign(year)}${String(Math.abs(year)).padStart(4, '0')}-${two(month)}-${two(day)}`;
const timeText = ({ hour, minute, second }) => [hour, minute, second].map(two).join(':');

// The client counts years and months from 1970 on; falkor-cli has days, hours, minutes and seconds, each with its sign.
function durationText(duration) {
    const epoch = new Temporal.PlainDateTime(1970, 1, 1);
    const { days, hours, minutes, seconds } = epoch.until(epoch.add(duration), { largestUnit: 'days' });
    const part = (amount, unit) => amount ? `${amount}${unit}` : '';
    const time = part(hours, 'H') + part(minutes, 'M') + part(seconds, 'S');
    return `P${part(days, 'D')}${time ? `T${time}` : days ? '' : 'T0S'}`;
}

function toCliForm(value) {
    if (Number.isNaN(value)) return 'NaN';
    if (value === null || typeof value !== 'object') return value;
    if (Array.isArray(value)) return value.map(toCliForm);
    switch (value[Symbol.toStringTag]) {
        case 'Temporal.PlainDate': return dateText(value);
        case 'Temporal.PlainTime': return timeText(value);
        case 'Temporal.PlainDateTime': return `${dateText(value)}T${timeText(value)}`;
        case 'Temporal.Duration': return durationText(value);
    }
    const renamed = 'relationshipType' in value && 'sourceId' in value
        ? { id: value.id, type: value.relationshipType, source: value.sourceId, destination: value.destinationId,
            properties: value.properties }
        : value;
    return Object.fromEntries(Object.entries(renamed).map(([key, inner]) => [key, toCliForm(inner)]));
}

// ---- comparing -----------------------------------------------------------------------------------------------------

const isObject = (value) => value !== null && typeof value === 'object';

// Every place where the two differ; keys may stand in any order, elements may not.
function differences(cli, node, at = '') {
    if (isObject(cli) && isObject(node) && Array.isArray(cli) === Array.isArray(node)) {
        const keys = new Set([...Object.keys(cli), ...Object.keys(node)]);
        return [...keys].flatMap((key) => differences(Object.getOwnPropertyDescriptor(cli, key)?.value,
            Object.getOwnPropertyDescriptor(node, key)?.value, `${at}/${key}`));
    }
    return Object.is(cli, node) ? [] : [{ at, cli, node }];
}

// What JSON has no number for is shown as text.
const show = (value) => (JSON.stringify(value, (_, inner) => Object.is(inner, -0) ? 'number -0'
    : typeof inner === 'bigint' || (typeof inner === 'number' && !Number.isFinite(inner)) ? `number ${inner}` : inner)
    ?? 'nothing').slice(0, 600);

// What is wrong with the answers to a query; nothing: undefined.
function judge(query, cli, node) {
    for (const name of PRIVATE) delete cli.summary?.[name];
    const found = differences(cli, node);
    if (!query.differs) {
        return found.length === 0 ? undefined
            : found.slice(0, 3).map((one) => `${one.at || 'all'}: falkor-cli ${show(one.cli)}, node ${show(one.node)}`)
                .join('\n    ');
    }
    const known = DIFFERENCES[query.differs];
    if (!known) return `there is no class of differences "${query.differs}"`;
    if (found.length === 0) return `the difference "${query.differs}" is gone: take the mark away`;
    const others = found.filter((one) => !known.holds(one.cli, one.node));
    return others.length === 0 ? undefined : `other than "${query.differs}": ${show(others[0])}`;
}

// ---- running -------------------------------------------------------------------------------------------------------

const types = new Map();
const marked = new Map();
let connection, agreed = 0;

const INDEXING = /\bINDEX\b|\bdb\.idx\.\w+\.(create|drop)/i;

// Until neither graph has an index or a constraint that is not in order yet.
async function settled(graphs) {
    const queries = ['CALL db.indexes() YIELD status RETURN status', 'CALL db.constraints() YIELD status RETURN status'];
    for (const end = Date.now() + LIMIT_MS; ; await new Promise((resolve) => setTimeout(resolve, 5))) {
        const replies = await Promise.all(graphs.flatMap((graph) => queries.map((query) =>
            connection.falkordb.roQuery(graph, query, undefined, false))));
        if (replies.every(({ data }) => data.every(([status]) => status === 'OPERATIONAL'))) return;
        if (Date.now() > end) throw new Error(`indexes or constraints not in order: ${JSON.stringify(replies)}`);
    }
}

async function constrain(graphs, words) {
    const [kind, entity, label, ...properties] = words.split(' ');
    for (const graph of graphs) await connection.falkordb.constraintCreate(graph, kind, entity, label, ...properties);
}

// One file, as a test; its failures.
async function runFile(file, queries) {
    const name = path.basename(file, '.cypher');
    const graphs = ['cli', 'node'].map((client) => `differential:${name}:${client}`);
    const node = new Node(connection, graphs[1]), wrong = [];
    let failed = false;
    for (const graph of graphs) await connection.falkordb.delete(graph).catch(() => {});
    const cli = new Cli(graphs[0]);
    for (const query of queries) {
        if (query.constraint) {
            await constrain(graphs, query.constraint);
            await settled(graphs);
        }
        const [ours, theirs] = await Promise.all([cli.run(query), node.run(query)]);
        if (INDEXING.test(bare(query.text)) && !theirs.error) await settled(graphs);
        const complaint = judge(query, ours, theirs);
        failed ||= 'error' in ours;
        for (const row of node.raw?.data ?? []) for (const cell of row) countTypes(cell, types, false);
        if (complaint) wrong.push(`${query.where}: ${query.text}\n    ${complaint}\n    raw: ${show(node.raw)}`);
        else agreed++;
        if (query.differs) count(marked, query.differs);
    }
    const status = await cli.end();
    if (status !== Number(failed)) wrong.push(`falkor-cli ended with status ${status}`);
    for (const graph of graphs) await connection.falkordb.delete(graph).catch(() => {});
    return wrong;
}

// Functions and procedures that the server has, but for those that it alone uses.
async function namesOf(kind, condition) {
    const { data } = await connection.falkordb.roQuery('differential:names', `CALL dbms.${kind}() YIELD ${condition}`,
        undefined, false);
    return data.map(([name]) => name);
}

const list = (counts) => [...counts].map(([name, number]) => `${name} ${number}`).join(', ');

// What the queries must cover; what is missing.
async function coverage(queries) {
    const wrong = [], texts = queries.map(({ text }) => bare(text)), templates = new Map();
    const occurring = (patterns) => new Map(Object.entries(patterns).map(([name, pattern]) =>
        [name, texts.filter((text) => new RegExp(pattern.source, 'i').test(text)).length]));
    const called = (names) => occurring(Object.fromEntries(names.map((name) =>
        [name, new RegExp(`(?<![\\w.])${name.replaceAll('.', '\\.')}\\s*\\(`)])));
    const functions = called(await namesOf('functions',
        'name, internal, udf WHERE NOT internal AND NOT udf RETURN name ORDER BY name'));
    const procedures = called(await namesOf('procedures', 'name RETURN name ORDER BY name'));
    const clauses = occurring(CLAUSES);
    const same = new Map();
    for (const { text, given } of queries) count(same, JSON.stringify([text.replace(/\s+/g, ' ').trim(), given]));
    const distinct = same.size;
    for (const query of queries) count(templates, templateOf(query));
    const [template, most] = [...templates].sort(([, a], [, b]) => b - a)[0];
    for (const [query, times] of same) if (times > 1) wrong.push(`${times} times the same query: ${query}`);
    if (distinct < LEAST_QUERIES) wrong.push(`only ${distinct} distinct queries`);
    if (most > MOST_OF_A_TEMPLATE) wrong.push(`${most} queries of one template: ${template}`);
    for (const [what, counts] of Object.entries({ clause: clauses, function: functions, procedure: procedures }))
        for (const [name, number] of counts) if (number === 0) wrong.push(`no query with the ${what} ${name}`);
    for (const type of TYPES.slice(1)) {
        if (!types.has(type)) wrong.push(`no reply with the type ${type}`);
        if (!types.has(`${type} (inner)`)) wrong.push(`no reply with the type ${type} within another value`);
    }
    for (const name of Object.keys(DIFFERENCES))
        if (!marked.has(name)) wrong.push(`the difference "${name}" occurs nowhere: remove it`);
    console.log(`count: ${distinct} distinct queries of ${templates.size} templates, at most ${most} of one`);
    console.log(`count: clauses: ${list(clauses)}`);
    console.log(`count: functions: ${list(functions)}`);
    console.log(`count: procedures: ${list(procedures)}`);
    console.log(`count: value types, at any depth (inner: within another value): ${list([...types].sort())}`);
    return wrong;
}

let failures = 0;

async function test(name, body) {
    console.log(`[ RUN      ] ${name}`);
    const wrong = await body().catch((error) => [error.stack]);
    for (const complaint of wrong.slice(0, SHOWN)) console.log(complaint);
    if (wrong.length > SHOWN) console.log(`and ${wrong.length - SHOWN} more`);
    console.log(`[  ${wrong.length === 0 ? '     OK' : 'FAILED '} ] ${name}`);
    failures += wrong.length > 0;
}

// LOAD CSV reads from a folder of the server's only; one that is not ours is left alone, and the queries fail alike.
async function putCsv() {
    const [, folder] = await connection.sendCommand(['GRAPH.CONFIG', 'GET', 'IMPORT_FOLDER']);
    for (const file of readdirSync(FOLDER).filter((name) => name.endsWith('.csv'))) {
        try { writeFileSync(path.join(folder, file), readFileSync(path.join(FOLDER, file))); }
        catch { console.log('note: the server\'s IMPORT_FOLDER cannot be written: LOAD CSV only fails here'); return; }
    }
}

const url = process.env.FALKORDB_URL;
if (!url) throw new Error('FALKORDB_URL is not set: test/server.sh run test/differential.sh');
const wanted = (process.argv[2] ?? '*').replace(/[.+^${}()|[\]\\]/g, '\\$&').replace(/\*/g, '.*').replace(/\?/g, '.');
const pattern = new RegExp(`^${wanted}$`);
const files = readdirSync(FOLDER).filter((name) => name.endsWith('.cypher')).sort();
const all = new Map(files.map((file) => [file, readQueries(file)]));
const db = await FalkorDB.connect({ url });
db.on('error', (error) => { console.log(error.message); });
connection = await db.connection;
await db.udfLoad('differential', readFileSync(path.join(FOLDER, 'udf.js'), 'utf8'), true);
await connection.falkordb.query('differential:names', 'RETURN 1');
await putCsv();
let sent = 0;
for (const [file, queries] of all) {
    const name = `differential_${path.basename(file, '.cypher')}`;
    if (!pattern.test(name)) continue;
    sent += queries.length;
    await test(name, () => runFile(file, queries));
}
const queries = [...all.values()].flat();
if (sent === queries.length) await test('differential_coverage', () => coverage(queries));
for (const [name, number] of marked) console.log(`count: known difference in ${number}: ${name}: ${DIFFERENCES[name]?.reason}`);
const known = [...marked.values()].reduce((sum, number) => sum + number, 0);
console.log(`note: ${agreed} of ${sent} queries agree, ${known} of them but for a known difference`);
await db.udfDelete('differential');
await connection.falkordb.delete('differential:names').catch(() => {});
await db.close();
process.exit(failures > 0 ? 1 : 0);
