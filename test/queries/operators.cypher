// ---- arithmetic
RETURN 1 + 2 * 3 - 4 / 2;
RETURN (1 + 2) * (3 - 4) / 2;
RETURN 7 / 2, 7 / 2.0, -7 / 2, 7 % 3, -7 % 3, 7 % -3;
RETURN 7.5 % 2, -7.5 % 2;
RETURN 2 ^ 10, 2 ^ 0.5, 2 ^ -1, (-2) ^ 3, 0 ^ 0;
RETURN 2 ^ 3 ^ 2;
RETURN -(-5), - 5, +5, -(2 + 3);
RETURN 1 - -1, 1 + -1, 2 * -3;
RETURN 10 / 3 * 3 = 10, 10 / 3.0 * 3 = 10;
RETURN 1 / 3.0, 2 / 3.0, 10 / 3.0, 1e15 / 3;
// differs: large integer
RETURN 9007199254740991 + 2;
// differs: large integer
RETURN 3037000500 * 3037000499;
// differs: large integer
RETURN 9223372036854775807 + 1;
// differs: large integer
RETURN 0 - 9223372036854775807 - 2;
RETURN 1000000 * 1000000, 94906265 * 94906265;
RETURN null + 1, 1 - null, null * null, null / 0, null % 2, null ^ 2;
RETURN 5 / 0;
RETURN 5 % 0;
RETURN 5.0 % 0, 0 / 5, 0.0 / 5;
RETURN 1 + 1.5 AS sum, 3 - 0.5 AS difference, 2 * 0.25 AS product;
RETURN 'a' + 'b', 'a' + 1, 1 + 'a', 'x' + 1.5, 'y' + true;
RETURN 'a' + null, null + 'a';
RETURN [1] + [2], [1] + 2, 1 + [2], [1] + [[2]], [] + [];
RETURN 'a' + ['b'], ['a'] + 'b', [1] + null, null + [1];
RETURN {a: 1} + {b: 2}, {a: 1} + {a: 2} AS right_one;
RETURN true + 1;
RETURN 'a' * 2;
RETURN [1] - [1];
RETURN -'a';
// ---- comparison
RETURN 1 = 1, 1 = 1.0, 1 <> 2, 1 < 2, 2 <= 2, 3 > 2, 3 >= 4;
RETURN 1 < 2 < 3, 3 > 2 > 1, 1 < 3 < 2;
RETURN 1 = 1 = true, 1 <= 2 = 2;
RETURN 'a' < 'b', 'a' < 'B', 'abc' < 'abd', 'Z' < 'a', '' < 'a', 'é' > 'z';
RETURN true > false, true = true, false <> false;
RETURN [1, 2] = [1, 2], [1, 2] = [2, 1], [1, 2] < [1, 3], [] = [], [1] < [1, 0];
RETURN {a: 1} = {a: 1}, {a: 1, b: 2} = {b: 2, a: 1}, {a: 1} = {a: 2}, {} = {};
RETURN null = null, null <> null, null = 1, null < 1, 1 > null;
RETURN [null] = [null], [1, null] = [1, null], [1, null] = [2, null], {a: null} = {a: null};
RETURN 1 = 'a', 1 <> 'a', 'a' = true, [1] = 1, {a: 1} = [1];
RETURN 1 < 'a', 'a' < 1, true < 1, [1] < 'a';
RETURN 0.1 + 0.2 = 0.3, 0.5 + 0.25 = 0.75;
RETURN 0.0 = -0.0, 0.0 / 0.0 = 0.0 / 0.0, 0.0 / 0.0 <> 1, 1 / 0.0 > 1e308;
RETURN 9007199254740993 = 9007199254740993.0, 9007199254740993 > 9007199254740992;
RETURN 1 IS NULL, null IS NULL, 1 IS NOT NULL, null IS NOT NULL;
RETURN (null + 1) IS NULL, [null] IS NULL, [] IS NOT NULL, {} IS NULL;
// ---- logic
RETURN true AND true, true AND false, false AND false;
RETURN true OR false, false OR false, true OR true;
RETURN true XOR false, true XOR true, false XOR false;
RETURN NOT true, NOT false, NOT NOT true;
RETURN null AND true, null AND false, false AND null, null AND null;
RETURN null OR true, null OR false, true OR null, null OR null;
RETURN null XOR true, null XOR false, NOT null;
RETURN true OR false AND false, (true OR false) AND false;
RETURN NOT true OR true, NOT (true OR true);
RETURN true XOR true OR true, true XOR (true AND false);
RETURN 1 < 2 AND 2 < 3 OR 1 = 0;
RETURN NOT 1 = 2, NOT 1 IS NULL, NOT 2 IN [1, 2];
RETURN 1 AND true;
RETURN NOT 'a';
RETURN 'a' OR true;
// ---- membership
RETURN 1 IN [1, 2], 3 IN [1, 2], 'a' IN ['a'], 1 IN [], 1.0 IN [1];
RETURN null IN [1], null IN [], null IN [null], 1 IN [null], 1 IN [1, null];
RETURN 1 IN null;
RETURN [1] IN [[1], [2]], [1] IN [1], {a: 1} IN [{a: 1}], [] IN [[]];
RETURN NOT 1 IN [2], NOT (1 IN [1]), 1 IN [2] OR 1 IN [1];
RETURN 1 IN 2;
RETURN any(x IN [1, 2] WHERE x IN [2, 3]), all(x IN [1, 2] WHERE x IN [1, 2, 3]);
WITH [1, 2, 3] AS list RETURN 2 IN list, 4 IN list, list[0] IN list, list IN [list];
// ---- string predicates
RETURN 'Cypher' STARTS WITH 'Cy', 'Cypher' ENDS WITH 'er', 'Cypher' CONTAINS 'yph';
RETURN 'Cypher' STARTS WITH 'cy', 'Cypher' ENDS WITH 'ER', 'Cypher' CONTAINS 'z';
RETURN 'a' STARTS WITH '', 'a' ENDS WITH '', 'a' CONTAINS '', '' CONTAINS '', '' STARTS WITH 'a';
RETURN null STARTS WITH 'a', 'a' STARTS WITH null, null ENDS WITH 'a', 'a' CONTAINS null;
RETURN '日本語' CONTAINS '本', '日本語' STARTS WITH '日', '日本語' ENDS WITH '語', 'né' ENDS WITH 'é';
RETURN NOT 'abc' CONTAINS 'b', 'abc' CONTAINS 'b' AND 'abc' CONTAINS 'd';
RETURN 1 STARTS WITH 'a';
RETURN 'a' CONTAINS 1;
UNWIND ['apple', 'apricot', 'banana', null] AS fruit RETURN fruit, fruit STARTS WITH 'ap', fruit ENDS WITH 'a', fruit CONTAINS 'an';
// ---- precedence and parentheses
RETURN ((((((1 + 1))))));
RETURN 2 * (3 + 4) ^ 2 / 7 % 5 - 1;
RETURN 1 + 2 = 3 AND NOT 4 - 1 < 2 XOR false;
RETURN 'a' + 'b' STARTS WITH 'a', 'x' IN ['x'] + ['y'];
RETURN [1, 2, 3][1] + {a: 10}.a * 2, -[1, 2][0];
RETURN CASE WHEN 1 < 2 THEN 'yes' ELSE 'no' END + '!';
WITH 6 AS six, 7 AS seven RETURN six * seven AS answer, six - seven, six / seven, six > seven, six = seven - 1;
WITH 1.5 AS x UNWIND [1, 2.5, null] AS y RETURN x + y, x - y, x * y, x / y, x % y, x ^ y;
WITH true AS t, false AS f, null AS n RETURN t AND n, f AND n, t OR n, f OR n, t XOR n, NOT n, t = n, n IS NULL;
UNWIND [[1, 2], [2, 1], [2, 2]] AS p RETURN p[0] < p[1], p[0] > p[1], p[0] = p[1], p[0] <= p[1], p[0] >= p[1], p[0] <> p[1];
