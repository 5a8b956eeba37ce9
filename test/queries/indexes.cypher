UNWIND range(1, 30) AS i CREATE (:Book {id: i, title: 'Title number ' + toString(i), year: 1990 + i % 7, price: i * 1.25, tags: ['t' + toString(i % 3)], isbn: toString(100000 + i)});
CREATE (:Film {title: 'The Jungle Book', plot: 'A boy grows up among wolves and bears'}), (:Film {title: 'The Book of Life', plot: 'A journey through three worlds'}), (:Film {title: 'Jungle Fever', plot: 'A love story'}), (:Film {title: 'Das Boot', plot: 'Ein U-Boot im Krieg, größer als das Meer'});
MATCH (a:Book {id: 1}), (b:Book {id: 2}), (c:Book {id: 3}) CREATE (a)-[:CITES {page: 10, note: 'important reference'}]->(b), (b)-[:CITES {page: 20, note: 'minor reference'}]->(c);
// ---- range indexes
CREATE INDEX FOR (b:Book) ON (b.id);
// wait
MATCH (b:Book {id: 7}) RETURN b;
CREATE INDEX FOR (b:Book) ON (b.year, b.price);
CREATE INDEX ON :Book(isbn);
CREATE INDEX FOR (b:Book) ON (b.tags);
CREATE INDEX FOR ()-[c:CITES]->() ON (c.page);
CREATE INDEX FOR (again:Book) ON (again.id);
// wait
MATCH (b:Book) WHERE b.id > 27 RETURN b.id, b.title ORDER BY b.id;
MATCH (b:Book) WHERE b.id IN [3, 1, 99] RETURN b.id ORDER BY b.id;
MATCH (b:Book) WHERE b.id >= 5 AND b.id < 8 RETURN b.id, b.price ORDER BY b.id;
MATCH (b:Book) WHERE b.year = 1993 AND b.price > 10 RETURN b.id, b.year, b.price ORDER BY b.id;
MATCH (b:Book) WHERE b.year = 1991 OR b.year = 1992 RETURN count(b) AS n, collect(DISTINCT b.year) AS years;
MATCH (b:Book) WHERE b.isbn STARTS WITH '10002' RETURN b.isbn ORDER BY b.isbn;
MATCH (b:Book) WHERE b.isbn CONTAINS '03' OR b.isbn ENDS WITH '7' RETURN b.isbn ORDER BY b.isbn;
MATCH (b:Book) WHERE 't1' IN b.tags RETURN count(b);
MATCH (b:Book) WHERE b.id = '7' RETURN b;
MATCH (b:Book) WHERE b.id = null RETURN b;
MATCH (b:Book) WHERE NOT b.id > 2 RETURN b.id ORDER BY b.id;
MATCH ()-[c:CITES]->() WHERE c.page > 15 RETURN c;
MATCH (a:Book)-[c:CITES {page: 10}]->(b) RETURN a.id, c, b.id;
UNWIND [4, 8] AS i MATCH (b:Book {id: i}) RETURN i, b.title ORDER BY i;
MATCH (b:Book {id: 5}) SET b.id = 500 RETURN b.id;
MATCH (b:Book {id: 500}) RETURN b.title;
MATCH (b:Book {id: 6}) DELETE b;
MATCH (b:Book) WHERE b.id > 28 OR b.id < 3 RETURN b.id ORDER BY b.id DESC;
CALL db.indexes() YIELD label, properties, types, entitytype, status RETURN label, properties, types, entitytype, status ORDER BY label, entitytype;
CALL db.indexes() YIELD label, options, language, stopwords RETURN label, options, language, size(stopwords) AS stopwords ORDER BY label;
DROP INDEX FOR (b:Book) ON (b.price);
DROP INDEX ON :Book(isbn);
DROP INDEX FOR (b:Book) ON (b.nothing);
DROP INDEX FOR ()-[c:CITES]->() ON (c.page);
DROP INDEX ON :Nothing(x);
CREATE INDEX FOR (b:Book) ON b.x;
CREATE INDEX FOR (b) ON (b.x);
CREATE INDEX FOR (n:Fresh) ON (n.key);
CREATE (n:Fresh {key: 'k1'}) RETURN n;
MATCH (n:Fresh {key: 'k1'}) RETURN n.key;
// ---- full-text
CALL db.idx.fulltext.createNodeIndex('Film', 'title', 'plot');
// wait
CALL db.idx.fulltext.queryNodes('Film', 'Book') YIELD node RETURN node.title ORDER BY node.title;
CALL db.idx.fulltext.queryNodes('Film', 'jun*') YIELD node, score RETURN node.title, score > 0 AS scored ORDER BY node.title;
CALL db.idx.fulltext.queryNodes('Film', '%jangle%') YIELD node RETURN node.title ORDER BY node.title;
CALL db.idx.fulltext.queryNodes('Film', 'jungle book') YIELD node RETURN node;
CALL db.idx.fulltext.queryNodes('Film', 'jungle|life') YIELD node RETURN count(node) AS n;
CALL db.idx.fulltext.queryNodes('Film', 'book -jungle') YIELD node RETURN node.title;
CALL db.idx.fulltext.queryNodes('Film', '@title:jungle') YIELD node AS f WHERE f.plot CONTAINS 'love' RETURN f.title;
CALL db.idx.fulltext.queryNodes('Film', 'größer') YIELD node RETURN node.plot;
CALL db.idx.fulltext.queryNodes('Film', 'nowhere') YIELD node RETURN node;
CALL db.idx.fulltext.queryNodes('Film', 'Book');
CALL db.idx.fulltext.queryNodes('Film', '(((');
CALL db.idx.fulltext.queryNodes('Nothing', 'x') YIELD node RETURN node;
CALL db.idx.fulltext.queryNodes('Film') YIELD node RETURN node;
CALL db.idx.fulltext.queryNodes(1, 2) YIELD node RETURN node;
CREATE FULLTEXT INDEX FOR ()-[c:CITES]->() ON (c.note);
// wait
CALL db.idx.fulltext.queryRelationships('CITES', 'reference') YIELD relationship RETURN relationship ORDER BY relationship.page;
CALL db.idx.fulltext.queryRelationships('CITES', 'important') YIELD relationship, score RETURN relationship.note, score > 0 AS scored;
CREATE FULLTEXT INDEX FOR (b:Book) ON (b.title);
// wait
CALL db.idx.fulltext.queryNodes('Book', 'number') YIELD node RETURN count(node) AS n;
CALL db.idx.fulltext.createNodeIndex({label: 'Film2', language: 'german', stopwords: ['der', 'die', 'das']}, 'title');
CALL db.idx.fulltext.createNodeIndex('Film3', {field: 'title', phonetic: 'dm:en', weight: 2, nostem: true});
CALL db.idx.fulltext.createNodeIndex({label: 'Film4', language: 'klingon'}, 'title');
CALL db.idx.fulltext.createNodeIndex('Film5');
CALL db.indexes() YIELD label, types, language, stopwords WHERE label STARTS WITH 'Film' RETURN label, types, language, CASE WHEN size(stopwords) < 9 THEN stopwords END AS stopwords ORDER BY label;
MATCH (f:Film {title: 'Das Boot'}) SET f.title = 'The Boat' RETURN f;
CALL db.idx.fulltext.queryNodes('Film', 'boat') YIELD node RETURN node.title;
DROP FULLTEXT INDEX FOR (b:Book) ON (b.title);
CALL db.idx.fulltext.drop('Film');
CALL db.idx.fulltext.drop('Film') YIELD nothing RETURN nothing;
CALL db.idx.fulltext.queryNodes('Film', 'gone') YIELD node RETURN node;
// ---- vector
CREATE VECTOR INDEX FOR (d:Doc) ON (d.v) OPTIONS {dimension: 3, similarityFunction: 'euclidean'};
CREATE VECTOR INDEX FOR ()-[l:LIKE]->() ON (l.v) OPTIONS {dimension: 2, similarityFunction: 'cosine', M: 8, efConstruction: 50, efRuntime: 5};
// wait
UNWIND [['a', 0, 0, 1], ['b', 0, 1, 0], ['c', 4, 4, 4], ['d', 0.5, 0, 1]] AS d CREATE (:Doc {name: d[0], v: vecf32(d[1..4])});
CALL db.idx.vector.queryNodes('Doc', 'v', 2, vecf32([0, 0, 1])) YIELD node, score RETURN node, score ORDER BY score;
CALL db.idx.vector.queryNodes('Doc', 'v', 10, vecf32([4, 4, 4])) YIELD node RETURN count(node) AS n;
CALL db.idx.vector.queryNodes('Doc', 'v', 1, vecf32([4, 4, 3])) YIELD node, score RETURN node.name, node.v, score;
CALL db.idx.vector.queryNodes('Doc', 'v', 1, vecf32([1, 2])) YIELD node RETURN node;
CALL db.idx.vector.queryNodes('Doc', 'v', 1, [1, 2, 3]) YIELD node RETURN node;
CALL db.idx.vector.queryNodes('Doc', 'nothing', 1, vecf32([1, 2, 3])) YIELD node RETURN node;
CALL db.idx.vector.queryNodes('Nothing', 'v', 1, vecf32([1, 2, 3])) YIELD node RETURN node;
CALL db.idx.vector.queryNodes('Doc', 'v', -1, vecf32([1, 2, 3])) YIELD node RETURN node;
MATCH (a:Doc {name: 'a'}), (b:Doc {name: 'b'}) CREATE (a)-[:LIKE {v: vecf32([1, 0])}]->(b), (b)-[:LIKE {v: vecf32([0, 1])}]->(a);
CALL db.idx.vector.queryRelationships('LIKE', 'v', 1, vecf32([1, 0.25])) YIELD relationship, score RETURN relationship, round(score * 1000) AS thousandths;
CREATE VECTOR INDEX FOR (d:Doc) ON (d.w) OPTIONS {dimension: 3};
CREATE VECTOR INDEX FOR (d:Doc) ON (d.w) OPTIONS {dimension: 0, similarityFunction: 'euclidean'};
CREATE VECTOR INDEX FOR (d:Doc) ON (d.w) OPTIONS {dimension: 3, similarityFunction: 'nonsense'};
CREATE VECTOR INDEX FOR (d:Doc) ON (d.w);
CALL db.indexes() YIELD label, properties, types, options WHERE label = 'Doc' RETURN label, properties, types, options;
DROP VECTOR INDEX FOR (d:Doc) ON (d.v);
DROP VECTOR INDEX FOR (again:Doc) ON (again.v);
DROP VECTOR INDEX FOR ()-[l:LIKE]->() ON (l.v);
// ---- constraints
UNWIND range(1, 3) AS i CREATE (:User {id: i, mail: 'user' + toString(i) + '@example.org'})-[:OWNS {no: i}]->(:Car {plate: 'P' + toString(i)});
CREATE INDEX FOR (u:User) ON (u.id);
CREATE INDEX FOR ()-[o:OWNS]->() ON (o.no);
// constraint: UNIQUE NODE User id
CALL db.constraints() YIELD type, label, properties, entitytype, status RETURN type, label, properties, entitytype, status;
CREATE (u:User {id: 1});
CREATE (u:User {id: 4}) RETURN u;
MATCH (u:User {id: 4}) SET u.id = 2 RETURN u;
MERGE (u:User {id: 4}) ON MATCH SET u.again = true RETURN u;
MATCH (u:User) RETURN u.id ORDER BY u.id;
// constraint: MANDATORY NODE Car plate
CREATE (c:Car);
CREATE (c:Car {plate: 'P4'}) RETURN c;
MATCH (c:Car {plate: 'P4'}) REMOVE c.plate RETURN c;
MATCH (c:Car {plate: 'P4'}) SET c = {} RETURN c;
// constraint: UNIQUE RELATIONSHIP OWNS no
MATCH (u:User {id: 1}), (c:Car {plate: 'P2'}) CREATE (u)-[o:OWNS {no: 1}]->(c) RETURN o;
MATCH (u:User {id: 1}), (c:Car {plate: 'P2'}) CREATE (u)-[o:OWNS {no: 9}]->(c) RETURN o;
// constraint: MANDATORY RELATIONSHIP OWNS no
MATCH (u:User {id: 1}), (c:Car {plate: 'P3'}) CREATE (u)-[o:OWNS]->(c) RETURN o;
CALL db.constraints() YIELD type, label, entitytype RETURN type, label, entitytype ORDER BY type, label;
UNWIND [10, 11, 10] AS i CREATE (:User {id: i});
MATCH (u:User) RETURN count(u) AS unchanged;
DROP INDEX FOR (u:User) ON (u.id);
