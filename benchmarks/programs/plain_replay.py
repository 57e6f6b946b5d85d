"""What one would write oneself: ``python plain_replay.py [moving]``, over the files in old/.

Each is opened, read, unpickled and handled.  With *moving* each is also moved to new/ and
back, as a master moves it.  In whatever order they lie there; nothing is checked, and what a
file says is run.
"""

import hashlib
import json
import os
import pickle
import sys

moving = "moving" in sys.argv
order = hashlib.sha256()
handled = 0
names = os.listdir("old")
if moving:
    for name in names:
        os.rename(f"old/{name}", f"new/{name}")
for name in names:
    with open(f"{'new' if moving else 'old'}/{name}", "rb") as file:
        output = pickle.loads(file.read())
    handled += 1
    order.update(b"%d\n" % output.number)
    if moving:
        os.rename(f"new/{name}", f"old/{name}")
print(json.dumps({"jobs": handled}))
