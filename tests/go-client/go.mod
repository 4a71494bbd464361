module check

go 1.18

require presence v0.0.0

// scripts/check-go-client generates it.
replace presence => ../../target/go-client
