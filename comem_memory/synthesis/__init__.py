"""Items and questions to train and test with: made-up ones, real countries, corpora."""
