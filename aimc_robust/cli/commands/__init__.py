"""The commands: parse the arguments, call one function, show its result."""
