"""Tools of the lab's developers: figures and pictures of the documents, made from what was measured."""
