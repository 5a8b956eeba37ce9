# Draws what test/plot_curves.c measured; test/plots.sh sets `data` and `plots`, the folders of the figures and of the plots.
# White behind all, for pages with a dark background too; colours that nobody takes for another (after Okabe and Ito), and a
# shape of its own for each curve. Ours is drawn last, to lie on top, and stands first in the legend.

set terminal svg size 800,560 dynamic font 'sans-serif,15' background rgb 'white' linewidth 1.2
set encoding utf8
set datafile separator tab
set datafile missing '?'

set linetype 1 linewidth 3 pointtype 7 pointsize 0.8 linecolor rgb '#0072B2'
set linetype 2 linewidth 2 pointtype 5 pointsize 0.8 linecolor rgb '#D55E00'
set linetype 3 linewidth 2 pointtype 9 pointsize 0.9 linecolor rgb '#009E73'
set linetype 4 linewidth 2 pointtype 13 pointsize 0.9 linecolor rgb '#AA4499'
set linetype 5 linewidth 2 pointtype 11 pointsize 0.9 linecolor rgb '#E69F00'
set linetype 6 linewidth 2 pointtype 4 pointsize 0.8 linecolor rgb '#555555'

set border 3 linecolor rgb '#444444'
set grid linetype 0 linewidth 0.8 linecolor rgb '#bbbbbb'
set tics nomirror
set tmargin at screen 0.84
set rmargin at screen 0.96

line(n) = system(sprintf('sed -n %dp %s/about', n, data))
set label 1 at screen 0.5, 0.955 center font ',18' noenhanced
set label 2 line(1) at screen 0.5, 0.912 center font ',12' textcolor rgb '#444444' noenhanced
set label 3 line(2) at screen 0.5, 0.877 center font ',12' textcolor rgb '#444444' noenhanced

# ---- throughput over threads

set output plots.'/throughput.svg'
set label 1 'RETURN 1 over threads: median of six turns, lowest and highest'
set bmargin at screen 0.31
set key at screen 0.53, 0.10 center center vertical maxrows 3 Left reverse invert samplen 2 width -3
set xlabel 'threads (of the Node client: loops at once)'
set ylabel 'thousand queries/s'
set logscale x 2
set xrange [0.88:57]
set xtics (1, 2, 4, 8, 20, 50)
set yrange [0:*]
# Curve n has three columns; that each stands a little beside the other keeps the spreads apart. The order is the legend's,
# which fills one column from below, then the next.
at(n) = 3 * n - 1
beside(n) = 1.014 ** (n - 3.5)
plot for [n = 6:1:-1] data.'/throughput.tsv' using ($1 * beside(n)):(column(at(n)) / 1e3):(column(at(n) + 1) / 1e3): \
        (column(at(n) + 2) / 1e3) with yerrorbars linetype n linewidth 1 pointtype 0 notitle, \
    for [n in '3 2 1 6 5 4'] '' using ($1 * beside(n)):(column(at(n)) / 1e3) with linespoints linetype n title columnheader(at(n)), \
    '' using ($1 * beside(1)):(column(at(1)) / 1e3) every ::1 with linespoints linetype 1 notitle

# ---- waits

set output plots.'/waits.svg'
set label 1 'Waits for a connection: 50 threads on 5 connections, RETURN 1'
set bmargin at screen 0.22
set key at screen 0.53, 0.055 center center vertical maxcols 1 Left reverse invert samplen 2 width 0
set xlabel 'percentile of the waits'
set ylabel 'wait'
unset logscale x
set xrange [0:*]
set xtics ('0' 0, '50 %%' 0.30103, '90 %%' 1, '99 %%' 2, '99.9 %%' 3, '99.99 %%' 4, '99.999 %%' 5)
set logscale y
set yrange [*:*]
set ytics ('10 ns' 1e-5, '100 ns' 1e-4, '1 µs' 1e-3, '10 µs' 1e-2, '100 µs' 1e-1, '1 ms' 1, '10 ms' 10, '100 ms' 100, '1 s' 1000)
plot for [n = 1:0:-1] data.'/waits.tsv' index n using 1:2 with lines linetype n + 1 title columnheader(2)

# ---- decoding over rows

set output plots.'/decode.svg'
set label 1 'Decoding a reply of nodes with 5 properties, every value read'
set bmargin at screen 0.14
set key at graph 0.03, 0.97 left top vertical maxcols 1 Left reverse invert samplen 2 opaque
set xlabel 'rows of the reply'
set ylabel "processor's time for a reply"
set logscale xy 10
set xrange [0.8:150000]
set yrange [5e-8:1]
set xtics ('1' 1, '10' 10, '100' 100, '1 000' 1000, '10 000' 10000, '100 000' 100000)
set ytics ('100 ns' 1e-7, '1 µs' 1e-6, '10 µs' 1e-5, '100 µs' 1e-4, '1 ms' 1e-3, '10 ms' 1e-2, '100 ms' 1e-1, '1 s' 1)
plot data.'/decode.tsv' using 1:5:6:7 with yerrorlines linetype 2 title columnheader(5), \
    '' using 1:2:3:4 with yerrorlines linetype 1 title columnheader(2).' (so many times faster)', \
    '' using 1:2:(sprintf('×%.1f', $5 / $2)) every ::1 with labels offset 1.2, -1.2 font ',13' notitle
