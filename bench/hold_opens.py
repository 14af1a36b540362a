"""Opens many files that are not answered, and waits: hold_opens.py FOLDER COUNT

Prints a line when every open was begun. Ends when it is killed."""

import os
import sys
import threading
import time


def hold(path):
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError:
        pass


folder, count = sys.argv[1], int(sys.argv[2])
threading.stack_size(64 * 1024)
for number in range(count):
    threading.Thread(target=hold, args=(f"{folder}/hang-{number}",), daemon=True).start()
print("begun", flush=True)
while True:
    time.sleep(3600)
