"""What the evaluation knows of each kind of example."""

from darkroom.evaluate import image_examples, table_examples, text_examples

KINDS = {"image": image_examples, "text": text_examples, "table": table_examples}
