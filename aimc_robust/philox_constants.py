"""Constants of Philox 4x64-10, see `philox`."""

ROUNDS = 10
MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B  # added to the two halves of a key from round to round
WORD = 2**64 - 1
