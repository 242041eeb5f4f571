"""Classify image files and write the predictions to a CSV table; darkroom/predict/batch.py has the command line."""

from darkroom.predict.batch import main

main()
