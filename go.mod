module lowbit

go 1.26
