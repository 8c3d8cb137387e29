package sqltext

type keyword struct{ bare bool }

var keywords = map[string]keyword{}
