"""Looking at what a prediction did: one page of figures and pictures over its output. Knows no Ray, no MLflow."""
