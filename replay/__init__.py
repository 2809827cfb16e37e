"""The same pipeline over history: replaying a journal and comparing its transitions. May import everything but web
and app.
"""
