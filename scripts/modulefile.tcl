#%Module1.0
# For Environment Modules and for Lmod: "module use DIR/share/modulefiles" makes it known.
# Where it is copied to another directory, write into "root" where the programs are: set root /opt/start-jupyter/0.1.0
set root [file dirname [file dirname [file dirname [file dirname [file normalize $ModulesCurrentModulefile]]]]]

module-whatis "Starts Jupyter on a compute node and prints one secure link to it"
proc ModulesHelp {} {
    puts stderr "start-jupyter starts Jupyter on a compute node and prints one secure link to it: start-jupyter --help"
}
conflict start-jupyter

prepend-path PATH $root/bin
# An empty entry at the end stands for the system's own pages.
if {![info exists env(MANPATH)]} {
    append-path MANPATH ""
}
prepend-path MANPATH $root/share/man
# Where bash and fish look for completions; unset, it stands for these two.
if {![info exists env(XDG_DATA_DIRS)]} {
    append-path XDG_DATA_DIRS /usr/local/share
    append-path XDG_DATA_DIRS /usr/share
}
prepend-path XDG_DATA_DIRS $root/share
# Where zsh looks; it tells nobody its own list unless FPATH is exported, and would lose it.
if {[info exists env(FPATH)]} {
    prepend-path FPATH $root/share/zsh/site-functions
}
