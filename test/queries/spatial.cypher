// ---- points
RETURN point({latitude: 32.5, longitude: 34.25});
RETURN point({latitude: 0, longitude: 0}) AS origin, point({latitude: -90, longitude: 180}) AS corner, point({latitude: 90, longitude: -180}) AS other;
RETURN point({latitude: 51.507351, longitude: -0.127758}) AS london, point({longitude: 2.352222, latitude: 48.856613}) AS paris;
RETURN point({latitude: 0.1, longitude: 1e-7}), point({latitude: 12.345678901234, longitude: 98.765432109876});
RETURN point({latitude: 91, longitude: 0});
RETURN point({latitude: 0, longitude: 181});
RETURN point({latitude: 1});
RETURN point({lat: 1, lon: 2});
RETURN point({latitude: 'a', longitude: 2});
RETURN point(null), distance(null, null), distance(point({latitude: 1, longitude: 1}), null);
WITH [1, 2] AS xs RETURN point(xs);
WITH point({latitude: 32.5, longitude: 34.25}) AS p RETURN p.latitude, p.longitude, p.nonsense, p['latitude'];
RETURN distance(point({latitude: 0, longitude: 0}), point({latitude: 0, longitude: 1})) AS degree, distance(point({latitude: 5, longitude: 5}), point({latitude: 5, longitude: 5})) AS none;
WITH point({latitude: 51.507351, longitude: -0.127758}) AS london, point({latitude: 48.856613, longitude: 2.352222}) AS paris RETURN round(distance(london, paris) / 1000) AS kilometres, distance(london, paris) = distance(paris, london) AS either_way;
WITH 1 AS x RETURN distance(x, x);
RETURN point({latitude: 1, longitude: 2}) = point({latitude: 1, longitude: 2}), point({latitude: 1, longitude: 2}) <> point({latitude: 2, longitude: 1}), point({latitude: 1, longitude: 2}) = {latitude: 1, longitude: 2};
RETURN point({latitude: 1, longitude: 2}) < point({latitude: 2, longitude: 1}) AS less;
UNWIND [[0, 0], [10.5, 20.25], [-33.9, 151.2]] AS c RETURN point({latitude: c[0], longitude: c[1]}) AS p, toString(point({latitude: c[0], longitude: c[1]})) AS text;
UNWIND [point({latitude: 1, longitude: 2}), point({latitude: 1, longitude: 2}), null] AS p RETURN DISTINCT p;
RETURN [point({latitude: 1, longitude: 2}), [point({latitude: 3, longitude: 4})]] AS list, {p: point({latitude: 1, longitude: 2})} AS map, {p: point({latitude: 1, longitude: 2})}.p.longitude AS member;
CREATE (:City {name: 'Paris', at: point({latitude: 48.856613, longitude: 2.352222})}), (:City {name: 'London', at: point({latitude: 51.507351, longitude: -0.127758})}), (:City {name: 'Sydney', at: point({latitude: -33.8688, longitude: 151.2093})});
MATCH (c:City) RETURN c.name, c.at, c.at.latitude, c.at.longitude ORDER BY c.name;
MATCH (c:City) RETURN c ORDER BY c.at.latitude DESC;
MATCH (a:City), (b:City) WHERE a.name < b.name RETURN a.name, b.name, round(distance(a.at, b.at) / 1000) AS km ORDER BY km;
MATCH (c:City) WHERE distance(c.at, point({latitude: 50, longitude: 0})) < 400000 RETURN c.name ORDER BY c.name;
CREATE INDEX FOR (c:City) ON (c.at);
MATCH (c:City) WHERE distance(c.at, point({latitude: 48.8, longitude: 2.3})) < 20000 RETURN c.name, c.at;
MATCH (c:City {name: 'Paris'}) SET c.at = point({latitude: 48.9, longitude: 2.4}), c.old = [c.at] RETURN c;
MATCH (c:City) RETURN collect(c.at) AS everywhere, count(DISTINCT c.at) AS places;
MATCH (c:City) RETURN properties(c), toJSON(c.at) ORDER BY c.name;
// ---- vectors
RETURN vecf32([1, 2, 3]), vecf32([0.5, -1.5]), vecf32([]);
// differs: float of 32 bits
RETURN vecf32([0.1, 0.2, 0.3]) AS rounded, vecf32([1e-7, 1e7, 123456.789]) AS spread, vecf32([16777216, 16777217, 16777219]) AS whole;
// differs: float of 32 bits
RETURN vecf32([3.4028234e38, 1.17549435e-38, 1e-45]) AS limits, vecf32([-0.0, 0.0]) AS zeros;
RETURN vecf32(null), vec.euclideanDistance(null, vecf32([1])), vec.cosineDistance(vecf32([1]), null);
WITH ['a'] AS xs RETURN vecf32(xs);
WITH 'abc' AS xs RETURN vecf32(xs);
RETURN vecf32([1, null]);
RETURN vec.euclideanDistance(vecf32([0, 0]), vecf32([3, 4])), vec.euclideanDistance(vecf32([1]), vecf32([1]));
RETURN vec.cosineDistance(vecf32([1, 0]), vecf32([0, 1])), vec.cosineDistance(vecf32([1, 2]), vecf32([2, 4])), vec.cosineDistance(vecf32([1, 0]), vecf32([-1, 0]));
RETURN vec.euclideanDistance(vecf32([1, 2]), vecf32([1, 2, 3]));
RETURN vec.cosineDistance([1, 2], [1, 2]);
RETURN vecf32([1, 2]) = vecf32([1, 2]) AS same, vecf32([1, 2]) <> vecf32([2, 1]) AS other, vecf32([1]) = [1.0] AS list;
RETURN vecf32([1, 2])[0];
RETURN size(vecf32([1, 2]));
RETURN [vecf32([1, 2]), [vecf32([3])]] AS list, {v: vecf32([4, 5]), deeper: {v: vecf32([6])}} AS map;
// differs: float of 32 bits
RETURN vecf32([x IN range(1, 64) | x / 8.0]) AS long, vecf32([x IN range(1, 10) | sin(x)]) AS wave;
// differs: float of 32 bits
UNWIND range(1, 5) AS n RETURN vecf32([n, n / 2.0, 1.0 / n]) AS v, vec.euclideanDistance(vecf32([n, n]), vecf32([0, 0])) AS length;
// differs: float of 32 bits
CREATE (i:Item {name: 'a', v: vecf32([0.1, 0.2])}), (:Item {name: 'b', v: vecf32([1, 2])}), (:Item {name: 'c'}) RETURN i, i.v;
// differs: float of 32 bits
MATCH (i:Item) RETURN i.name, i.v, vec.euclideanDistance(i.v, vecf32([0, 0])) AS d ORDER BY i.name;
MATCH (i:Item) WHERE vec.euclideanDistance(i.v, vecf32([1, 2])) < 0.5 RETURN i;
MATCH (i:Item {name: 'c'}) SET i.v = vecf32([9, 9]) RETURN i.v AS now;
MATCH (a:Item {name: 'a'}), (b:Item {name: 'b'}) CREATE (a)-[s:SIMILAR {by: vecf32([0.25, 0.75])}]->(b) RETURN s;
// differs: float of 32 bits
MATCH (i:Item) RETURN collect(i.v) AS vectors, count(i.v) AS n;
