"""What operators see: log lines, metrics and the correlation id that ties them together.

A *component* is the part of the program that writes a line. A *family* is a metric with all its series. The *request
fields* are what is known of the call being handled; they go into every line written meanwhile.
"""
