"""The report of `require`: error budgets that a device can be designed for, and devices that meet them."""
