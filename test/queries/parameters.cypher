CREATE (:P {name: 'Ada', n: 1}), (:P {name: "O'Brien", n: 2}), (:P {name: 'quote " and \\', n: 3});
:param x 1
RETURN $x AS x, $x + 1 AS y, [$x] AS l, {a: $x} AS m;
:param x -5
RETURN $x, abs($x), toString($x);
:param x 1.5
RETURN $x, $x * 2, round($x);
:param x 1e300
RETURN $x, $x / 10;
:param x "text"
RETURN $x, size($x), toUpper($x), $x + '!', $x IN ['text'];
:param x ""
RETURN $x, size($x), isEmpty($x);
:param x true
RETURN $x, NOT $x, CASE WHEN $x THEN 'yes' ELSE 'no' END;
:param x false
RETURN $x AND true, $x OR true, typeOf($x);
:param x null
RETURN $x, $x IS NULL, coalesce($x, 'default');
:param x [1, "two", 3.5, true, null, [4], {"five": 6}]
RETURN $x, size($x), $x[1], $x[5][0], $x[6].five, head($x), $x[..2];
:param x []
RETURN $x, size($x), $x + 1;
:param x {"name": "Ada", "age": 36, "langs": ["en", "fr"], "inner": {"deep": {"deeper": [1, {"deepest": null}]}}}
RETURN $x, $x.name, $x.langs[0], $x.inner.deep.deeper[1], keys($x), $x {.name, .age};
:param x {}
RETURN $x, keys($x), isEmpty($x);
:param x "it's \"quoted\" \\ back"
RETURN $x, size($x), replace($x, '\\', '/');
:param x "line\nfeed\ttab\rreturn"
RETURN $x, size($x), split($x, '\n');
:param x "é日😀 עברית"
RETURN $x, size($x), reverse($x), left($x, 2);
:param x "$x // no comment /* none */ ` ' ; --"
RETURN $x, size($x);
:param x "' RETURN 1 //"
RETURN $x AS harmless;
:param x "\" MATCH (n) DETACH DELETE n //"
MATCH (p:P) RETURN $x AS harmless_too, count(p) AS still;
:param x "\\"
RETURN $x, size($x);
:param x "\\\""
RETURN $x, size($x), [$x];
:param a 1
:param b 2
RETURN $a + $b AS sum, $a < $b AS less, [$b, $a] AS list;
:param a [3, 1, 2]
:param b {"k": "v"}
:param c "s"
UNWIND $a AS x RETURN x, $b.k, $c ORDER BY x;
:param name "Ada"
MATCH (p:P {name: $name}) RETURN p;
:param name "O'Brien"
MATCH (p:P) WHERE p.name = $name RETURN p.n;
:param names ["Ada", "quote \" and \\"]
MATCH (p:P) WHERE p.name IN $names RETURN p.name, p.n ORDER BY p.n;
:param props {"name": "New", "n": 4, "tags": ["a", "b"]}
CREATE (p:P) SET p = $props RETURN p;
:param props {"n": 5, "tags": null}
MATCH (p:P {name: 'New'}) SET p += $props RETURN p;
:param rows [{"name": "r1", "n": 10}, {"name": "r2", "n": 20}]
UNWIND $rows AS row CREATE (p:Q) SET p = row RETURN p.name, p.n ORDER BY p.n;
:param n 2
MATCH (p:P) RETURN p.name ORDER BY p.n LIMIT $n;
:param n 1
:param m 2
MATCH (p:P) RETURN p.name ORDER BY p.n SKIP $n LIMIT $m;
:param n "two"
MATCH (p:P) RETURN p.name LIMIT $n;
:param key "name"
MATCH (p:P {n: 1}) RETURN p[$key] AS value, {a: 1}[$key] AS none;
:param map {"n": 1}
MATCH (p:P) WHERE p.n = $map.n RETURN p.name;
:param low 1
:param high 3
MATCH (p:P) WHERE $low < p.n <= $high RETURN p.n ORDER BY p.n;
:param d "2024-02-29"
RETURN date($d), date($d).year, date($d) + duration('P1D');
:param t "12:34:56"
RETURN localtime($t), localtime($t).minute;
:param dt "2024-02-29T12:34:56"
RETURN localdatetime($dt), localdatetime($dt) < localdatetime('2025-01-01T00:00:00');
:param du "P1DT2H"
RETURN duration($du), duration($du) + duration($du);
:param p {"latitude": 32.5, "longitude": 34.25}
RETURN point($p), point($p).latitude, distance(point($p), point($p));
:param v [0.5, 1.5, -2]
RETURN vecf32($v), vec.euclideanDistance(vecf32($v), vecf32($v)) AS none;
:param re "[0-9]+"
RETURN string.replaceRegEx('a1b22', $re, '#') AS masked, string.matchRegEx('a1b22', $re) AS found;
RETURN $missing;
:param x 1
UNWIND [1] AS one RETURN one, $y;
:param x 1
MATCH (p:P {n: $x}) SET p.set = $x, p.list = [$x, $x] REMOVE p.none RETURN p;
:param x 3
MERGE (p:P {n: $x}) ON MATCH SET p.hit = $x ON CREATE SET p.miss = $x RETURN p;
:param x 77
MERGE (p:P {n: $x}) ON MATCH SET p.hit = $x ON CREATE SET p.miss = $x RETURN p;
:param x [1, 2, 3]
RETURN [y IN $x WHERE y > 1 | y * 10] AS some, all(y IN $x WHERE y > 0) AS all, reduce(s = 0, y IN $x | s + y) AS sum;
:param x [1, 2]
FOREACH (y IN $x | CREATE (:F {y: y}));
:param x {"a": [{"b": [{"c": [1, 2, {"d": "deep"}]}]}]}
RETURN $x.a[0].b[0].c[2].d AS deep, $x;
:param underscore_1 "name of a parameter"
WITH $underscore_1 AS value RETURN value, value = $underscore_1;
:param x 0.1
RETURN $x, $x + 0.2, $x * 3;
:param x 9007199254740000
RETURN $x, $x + 1, $x / 1000;
:param x -0.5
RETURN $x, $x % 1, floor($x), sign($x);
:param x ["a;b", "c", ";"]
RETURN $x, string.join($x, '|');
:param x "Ada"
CALL { MATCH (p:P {name: $x}) RETURN p } RETURN p.n;
:param label "P"
MATCH (n) WHERE $label IN labels(n) RETURN count(n);
:param label "P"
MATCH (n:$label) RETURN n;
