// The functions differential.* that udf.cypher calls.
falkor.register("twice", function (x) { return x * 2; });
falkor.register("shout", function (text) { return text.toUpperCase() + "!"; });
falkor.register("same", function (x) { return x; });
falkor.register("pair", function (a, b) { return [a, b]; });
falkor.register("box", function (x) { return { value: x, list: [x, x] }; });
falkor.register("nothing", function () { return null; });
falkor.register("label", function (node) { return node.labels.join("+"); });
falkor.register("fail", function (x) { throw new Error("no: " + x); });
