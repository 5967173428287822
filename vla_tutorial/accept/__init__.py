"""The acceptance run: which claims about a published checkpoint hold, measured on a reader's GPU.

A run is a queue of *rounds*. A round is a small sweep with the same number of starts from every
task, so that a run which ends early has lost no task. A budget decides how many rounds are run, in
the order of what they settle. A larger budget later goes on where the first one ended.
"""
