"""The survey: how far a stranger gets into the archives one is responsible for, counted and never read.

scope -> dialer -> probes -> observations -> findings -> results -> report
"""
