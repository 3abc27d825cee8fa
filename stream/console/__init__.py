"""The web console: pages over what the models' log and Redis tell, for those who use no terminal. It only reads."""
