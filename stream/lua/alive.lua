-- Nothing: that it runs says that the process is the one that knows it (stream/wire/script.py).
return 1
