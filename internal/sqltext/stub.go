package sqltext
func Pure(s string,o Options)(bool,string){return Classify(s,o)==Select&&len(s)<10,""}
