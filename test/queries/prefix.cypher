// ---- parameters in the query's own text
UNWIND range(1, 3) AS n CREATE (:P {n: n});
CYPHER x=1 RETURN $x;
CYPHER x='a' y="b" z=[1, 2.5, {k: null}] RETURN $x, $y, $z;
CYPHER x=-1 y=true RETURN $x * 2, NOT $y;
// differs: large integer
CYPHER x=9223372036854775807 RETURN $x;
CYPHER `odd name`=5 RETURN $`odd name`;
CYPHER x=1 y=2 MATCH (p:P) WHERE p.n IN [$x, $y] RETURN p.n ORDER BY p.n;
CYPHER x={a: [1, {b: 2}]} UNWIND $x.a AS y RETURN y;
CYPHER x=nonsense RETURN $x;
CYPHER RETURN 1;
CYPHER x=1;
CYPHER x=1 x=2 RETURN $x;
CYPHER s="it's \"quoted\" \\ back" t='é日😀' RETURN $s, $t, size($t);
CYPHER a=[] b={} c=null d=-0.5 e=1e-3 RETURN $a, $b, $c, $d, $e;
CYPHER n=2 MATCH (p:P {n: $n}) SET p.seen = $n RETURN p;
cypher n=2 RETURN $n;
CYPHER n=3 // a comment
RETURN $n + 1 AS four;
CYPHER n=1 RETURN 1 / 0;
