"""gitlab.rb, the Linux package's configuration file, onto the config.toml of each program.

The file is a declarative subset of Ruby: it is tokenized and parsed, and nothing in it is ever run. What it says
becomes a tree of *settings*; a *role* (praefect, gitaly, gitlab) takes from the tree what it knows, and what remains is
reported, either as *ignored* on purpose (services and settings of other parts) or as *not known*.
``praefect.config.omnibus.reconfigure`` is the way from file to file.
"""
