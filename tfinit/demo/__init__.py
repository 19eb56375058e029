"""The live page: `tfinit demo`. The page in ``static/``, its server, and the trainings behind it.

`network.py` compiles one network of an architecture and lends it to the trainings; `training.py`
is one pane, `lottery.py` the other tab, `scene.py` what is drawn of the plane, `outcome.py` whether
the diagnosis came true, `python_code.py` the same as code; `settings.py` is what a page may ask
for; `server.py` speaks HTTP. Needs the extra ``tfinit[demo]``.
"""
