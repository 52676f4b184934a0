"""The app's pages on Gradio: one file per page, `app.py` puts them together.

Nothing here decides anything: pages read the registry, the jobs' files and the URL, and call the packages below. What a
handler shows is made by plain functions that take a `Workspace` and plain values, and are tested as such. HTML is
written in `markup.py` and `charts.py`, which escape every word they are given; colours and CSS live in `theme.py`.
"""
