"""The files that people write, each as one model that is checked as a whole before anything starts.

A model says what a file may hold (docs/schemas/ is made from it), refuses what makes no sense together, and ends as the
frozen dataclasses that the other layers speak in. Models stay here: no other layer passes them on.
"""
