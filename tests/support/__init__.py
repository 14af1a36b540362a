"""Real parts that keyfs's tests run against. README.md beside this file says what there is and how to use it."""
