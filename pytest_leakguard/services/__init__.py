"""Starts, drives, samples and judges a service."""
