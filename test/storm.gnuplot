# Draws what test/plot_storm.c found, in the style of test/plots.gnuplot; `data` and `plots` are the folders of the figures and of
# the plot. Left the server refuses while it is away, right it is silent; above the dials, below the calls that failed. The curves
# without jitter are drawn broken, and on top: where they hide another, the two are the same. A gap is where no call ended.

set terminal svg size 800,700 dynamic font 'sans-serif,15' background rgb 'white' linewidth 1.2
set encoding utf8
set output plots.'/storm.svg'
set datafile separator tab

set linetype 1 linewidth 4 linecolor rgb '#0072B2'
set linetype 2 linewidth 2 linecolor rgb '#56B4E9' dashtype (4, 3)
set linetype 3 linewidth 4 linecolor rgb '#D55E00'
set linetype 4 linewidth 2 linecolor rgb '#E69F00' dashtype (4, 3)

set border 3 linecolor rgb '#444444'
set grid linetype 0 linewidth 0.8 linecolor rgb '#bbbbbb'
set tics nomirror
set xrange [-5:30]
set xtics 10

set multiplot
set label 1 'A failover, and 1 000 processes with pools of 20' at screen 0.5, 0.965 center font ',18'
set label 2 'simulated: 30 threads each, 10 000 calls/s; the server takes 10 000 connections and is away from 0 s to 10 s' \
    at screen 0.5, 0.93 center font ',12' textcolor rgb '#444444'
set object 1 rectangle from 0, graph 0 to 10, graph 1 fillcolor rgb '#eeeeee' fillstyle solid noborder behind

array words[2] = ['refused', 'silent']
do for [side = 0:1] {
    set lmargin at screen 0.12 + 0.47 * side
    set rmargin at screen 0.49 + 0.47 * side
    set tmargin at screen 0.86
    set bmargin at screen 0.54
    set label 3 words[side + 1] at graph 0.5, 1.05 center
    set ylabel (side ? '' : 'dials/s') offset 2
    unset xlabel
    set logscale y
    set yrange [0.5:60000]
    set ytics ('0' 0.5, '1' 1, '10' 10, '100' 100, '1 000' 1000, '10 000' 10000)
    unset key
    first = 2 + 8 * side
    above(y) = y > 0.5 ? y : 0.5
    plot for [n in '3 4 1 2'] data.'/storm.tsv' using 1:(above(column(first + 2 * (n - 1)))) with lines linetype n
    unset label 1
    unset label 2
    set tmargin at screen 0.46
    set bmargin at screen 0.19
    unset label 3
    set ylabel (side ? '' : 'calls failed, %') offset 1
    set xlabel 'seconds'
    unset logscale y
    set yrange [0:105]
    set ytics 25
    if (side == 0) { set key at screen 0.53, 0.06 center center vertical maxrows 2 Left reverse samplen 3 } else { unset key }
    plot for [n in '3 4 1 2'] data.'/storm.tsv' using 1:(column(first + 1 + 2 * (n - 1))) with lines linetype n \
        title columnheader(first + 2 * (n - 1))
}
unset multiplot
