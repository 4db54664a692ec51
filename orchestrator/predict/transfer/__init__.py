"""Accuracy predictors that know the data set: what was learned on many small tasks guides the search on a new one."""
