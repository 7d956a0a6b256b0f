"""A small world that can be judged: pictures of shapes, texts about them, and models that learnt from them.

The quickstart and the tests run the real pipeline on it, over real HTTP, and because every picture's content is known,
what comes out can be measured rather than believed.
"""
