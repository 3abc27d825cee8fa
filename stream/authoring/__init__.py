"""The steps of people: publish, promote, upload, set a campaign, compare, repair. Commands and notebooks call them, so
each rule exists once.

repairing.py: drop what a partition holds of a member, or write it again
"""
