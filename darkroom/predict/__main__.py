"""`python -m darkroom.predict`: see darkroom/predict/batch.py."""

from darkroom.predict.batch import main

main()
