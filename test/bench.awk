# The rows that test/bench.c writes, of one run or several: their table, and the file that `json` names.
# Fields: id, work, unit, ours, peer, theirs, ratio, lowest, highest, goal, met, why the peer is absent.

$1 == "server" { server = $2; next }
{
    if (!($1 in count)) order[++rows] = $1
    n = ++count[$1]
    work[$1] = $2; unit[$1] = $3; peer[$1] = $5; goal[$1] = $10; absent[$1] = $12
    ours[$1, n] = $4; theirs[$1, n] = $6; ratio[$1, n] = $7
    if (n == 1 || $8 < low[$1]) low[$1] = $8
    if (n == 1 || $9 > high[$1]) high[$1] = $9
}

# median of table[id, 1 to n]
function median(table, id, n,    i, j, t, sorted) {
    if (table[id, 1] == "-") return "-"
    for (i = 1; i <= n; i++) {
        t = table[id, i] + 0
        for (j = i - 1; j > 0 && sorted[j] > t; j--) sorted[j + 1] = sorted[j]
        sorted[j + 1] = t
    }
    return n % 2 ? sorted[(n + 1) / 2] : (sorted[n / 2] + sorted[n / 2 + 1]) / 2
}

function verdict(id, value,    part) {
    if (absent[id] != "-") return "absent"
    if (goal[id] == "-") return ""
    split(goal[id], part, " ")
    return (part[1] == ">=" ? value >= part[2] + 0 : value <= part[2] + 0) ? "met" : "MISSED"
}

function short(value) { return value == "-" ? "-" : sprintf(value >= 1000 ? "%.0f" : "%.4g", value) }
function quoted(text) { gsub(/[\\"]/, "\\\\&", text); return "\"" text "\"" }
function number(value) { return value == "-" ? "null" : value }

END {
    printf "\n%s, %d processors, %s\n%s\n%s\n%s, commit %s, %d run%s, %d s%s\n\n", machine, processors, kernel, compiler, \
        server, day, commit, runs, runs == 1 ? "" : "s", seconds, quick + 0 ? ", quick" : ""
    line = "%-14s %-43s %-10s %10s  %-24s %10s %7s  %-15s %-8s %s\n"
    printf line, "row", "work", "unit", "ours", "peer", "theirs", "ratio", "spread", "goal", ""
    printf "{\"machine\":%s,\"processors\":%d,\"system\":%s,\"compiler\":%s,\"server\":%s,\"date\":%s,\"commit\":%s," \
        "\"runs\":%d,\"quick\":%s,\"seconds\":%d,\"rows\":[", quoted(machine), processors, quoted(kernel), quoted(compiler), \
        quoted(server), quoted(day), quoted(commit), runs, quick + 0 ? "true" : "false", seconds >json
    for (i = 1; i <= rows; i++) {
        id = order[i]; n = count[id]
        our = median(ours, id, n); their = median(theirs, id, n); r = median(ratio, id, n)
        v = verdict(id, peer[id] == "-" ? our : r)
        if (v == "met" || v == "MISSED") { goals++; met += v == "met" }
        gone += v == "absent"
        printf line, id, work[id], unit[id], short(our), peer[id], short(their), r == "-" ? "-" : sprintf("%.3g", r), \
            r == "-" ? "-" : sprintf("%.3g to %.3g", low[id], high[id]), goal[id] == "-" ? "" : goal[id], \
            v == "absent" ? "absent: " absent[id] : v
        split(goal[id], part, " ")
        printf "%s\n{\"id\":%s,\"work\":%s,\"unit\":%s,\"ours\":%s,\"peer\":%s,\"theirs\":%s,\"ratio\":%s,\"low\":%s," \
            "\"high\":%s,\"goal\":%s,\"bound\":%s,\"met\":%s,\"absent\":%s}", i == 1 ? "" : ",", quoted(id), quoted(work[id]), \
            quoted(unit[id]), number(our), peer[id] == "-" ? "null" : quoted(peer[id]), number(their), number(r), \
            number(low[id]), number(high[id]), goal[id] == "-" ? "null" : part[2], \
            goal[id] == "-" ? "null" : part[1] == ">=" ? "\"at least\"" : "\"at most\"", \
            v == "met" ? "true" : v == "MISSED" ? "false" : "null", absent[id] == "-" ? "null" : quoted(absent[id]) >json
    }
    printf "\n]}\n" >json
    printf "\nA ratio is the median of those of the pairs of turns, ours to theirs, each pair run at once behind the other: on a\n" \
        "machine that is not quiet it is not that of the medians beside it. Rates (/s) are better high, all else is better low.\n"
    printf "%d of %d goals met", met, goals
    if (gone) printf ", %d rows without their peer", gone
    printf "; written to %s\n", json
}
