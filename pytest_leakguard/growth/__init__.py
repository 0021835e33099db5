"""The mathematics of series: does this grow, how fast, and what shape is it?"""
