"""Servers, clients and a network in virtual time, around the product's own flow."""
