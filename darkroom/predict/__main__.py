"""Classify image files and write the predictions to a CSV table.

The command line is in darkroom/predict/batch.py.
"""

from darkroom.predict.batch import main

main()
