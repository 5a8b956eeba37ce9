// ---- null, booleans, integers, doubles
RETURN null;
RETURN true, false;
RETURN TRUE AND false AS mixed;
RETURN 0, -0, +0;
RETURN 1, -1, 2147483647, 2147483648, -2147483649;
// differs: large integer
RETURN 9007199254740991 AS largest_exact, -9007199254740991 AS smallest_exact;
// differs: large integer
RETURN 9007199254740993 AS one_too_far;
// differs: large integer
RETURN [9223372036854775807, {least: -9223372036854775807}] AS limits;
// differs: large integer
UNWIND [4611686018427387905, 3, -4611686018427387905] AS big RETURN big, big % 2;
RETURN 9223372036854775808;
RETURN [0x1F, 0xff, -0x10] AS hexadecimal, 0x10 + 1 AS sum;
RETURN 0o17;
UNWIND [1.0, -1.0, 0.5, .5] AS d RETURN d, typeOf(d), toString(d);
RETURN [1e3, 1E3, 1.5e-3, 2.5E+10] AS exponents, 1e3 = 1000 AS whole;
// differs: largest double
RETURN 1e308, -1e308, 1.7976931348623157e308;
RETURN 2.2250738585072014e-308, 2.3e-308 / 1e10, -2.3e-308 / 3e15;
RETURN 5e-324, 2.2250738585072014e-308, 1e-310;
RETURN 0.1, 0.2, 0.1 + 0.2, 0.3;
RETURN 3.141592653589793 AS pi, 2.718281828459045 AS e, 3.141592653589793 = pi() AS whole;
WITH 123456789.123456789 AS nine RETURN nine, nine * 10, 123456789.123456789, 1234567890123456.7, 0.000012345678901234567;
UNWIND [100000000000000.0, 1000000000000000.0, 10000000000000000.0, 1e21] AS d RETURN d, -d, 1 / d;
RETURN 0.0 AS zero, -0.0 AS minus_zero, 0.0 * -1 AS product;
// differs: infinity
RETURN 1 / 0.0 AS up;
// differs: infinity
RETURN [-1 / 0.0] AS down;
// differs: infinity
WITH 1e308 * 10 AS huge RETURN huge, -huge AS opposite, {inner: huge} AS map;
RETURN 0.0 / 0.0 AS neither;
RETURN sqrt(-1) AS imaginary, [sqrt(-1)] AS listed, {n: log(-1)} AS mapped;
// ---- strings
WITH '' AS single, "" AS double RETURN single, double, single = double;
RETURN 'single' = "single" AS same, 'single' + "double" AS both;
RETURN {single: "it's", double: 'say "hi"'} AS quotes;
RETURN ['it\'s', "say \"hi\"", 'back\\slash'] AS escaped, 'it\'s' = "it's" AS same;
UNWIND ['line\nfeed', 'tab\there', 'carriage\rreturn'] AS s RETURN s, size(s), {s: s};
RETURN {feed: 'form\ffeed', back: 'back\bspace'} AS controls;
RETURN 'two
lines', "three

lines";
UNWIND ['unknown \q escape', '\x41', '\101'] AS odd RETURN odd, size(odd) AS characters;
RETURN '\u0041\u00e9\u65e5' AS s, size('\u0041') AS length;
RETURN ['é', 'ü', 'ß', 'ñ', 'Å', 'Å'] AS composed;
RETURN 'é日😀' AS one, 'é日😀' + '!' AS two, ['é日😀'] AS three, {`é`: 'é'} AS four;
WITH ['日本語', '한국어', 'ไทย', 'עברית', 'العربية'] AS scripts RETURN scripts, [s IN scripts | size(s)] AS sizes;
UNWIND ['😀', '👩‍👩‍👧‍👦', '🇩🇪', '𝒳'] AS s RETURN s, size(s), reverse(s), [s, {s: s}];
RETURN 'a b' AS no_break_space, '​' AS zero_width, '﻿' AS mark;
RETURN ['{"json": [1, 2]}', '<a href="x">', '100 %', '$x', '`', '#', '@', '~', '&amp;', '\u2028'] AS signs;
RETURN '// no comment' + '/* none either */' + 'a -- b' AS no_comments;
RETURN {query: 'MATCH (n) DETACH DELETE n', other: ['RETURN 1']}.query AS text;
UNWIND ['NaN', 'Infinity', 'null', 'true', '1', '1.0'] AS s RETURN s, typeOf(s), [s] AS list;
WITH '	' AS tab, ' ' AS space RETURN tab, space, tab = space, tab + space, '  padded  ';
RETURN ['\\', '\\\\', '\\n', '"\\"'] AS backslashes, size('\\') AS one;
// differs: error text not UTF-8
RETURN 'é日😀' AS one, 'é日😀' + '!' AS two, ['é日😀'] AS three, {é: 'é'} AS four;
// ---- lists and maps
RETURN [];
RETURN [1], [null], [[]], [{}];
RETURN [1, 'a', true, null, 2.5, [1], {a: 1}] AS every_kind;
RETURN [[1, 2], [3, [4, [5, [6]]]]] AS deep;
RETURN [[[[[[[[1]]]]]]]] AS eight_deep;
RETURN {};
RETURN {a: 1}, {a: null}, {a: {}};
RETURN {a: 1, b: 'two', c: 3.5, d: true, e: [1, 2], f: {g: {h: 'deep'}}} AS map;
RETURN {`with space`: 1, `ключ`: 2, `日`: 3, `a.b`: 4, `1`: 5} AS quoted;
RETURN {b: 1, a: 2, C: 3, A: 4} AS ordered;
RETURN {id: 1, labels: ['x'], properties: {}} AS like_a_node;
RETURN {latitude: 1, longitude: 2} AS like_a_point, {nodes: [], edges: []} AS like_a_path;
RETURN {constructor: 1, toString: 2, hasOwnProperty: 3, length: 4} AS names_of_javascript;
RETURN {`10`: 'ten', `9`: 'nine', z: 'z'} AS numbers_as_keys;
RETURN {a: 1, a: 2} AS twice;
// ---- names of columns
RETURN 1 AS `a column with spaces`, 2 AS `ünïcödé`, 3 AS `"quoted"`, 4 AS `it's`;
WITH 1 AS `10`, 2 AS `9`, 3 AS a RETURN `10`, `9`, a;
RETURN 1 + 1, 'text', [1, 2], {a: 1}, null;
RETURN 1   +   2;
UNWIND [1] /* a comment */ AS one RETURN one;
RETURN 2 AS two // to the end
;
/* before */ RETURN 3 AS three;
unwind [4] as lower_case return lower_case;
UnWiNd [5] aS mIxEd ReTuRn mIxEd, MiN(mIxEd);
RETURN 1 AS one, one;
RETURN true AS _a1, false AS __, 0 AS A;
UNWIND [null, 1, 'x', 2.5, true, [1], {a: 1}] AS value RETURN value;
UNWIND [[], {}, '', 0, false, 0.0] AS empty RETURN empty, empty IS NULL;
