package data

// Info describes a set that Get can fetch.
type Info struct {
	Name          string `json:"name"`
	Description   string `json:"description"`
	TrainExamples int    `json:"train_examples"`
	TestExamples  int    `json:"test_examples"`
}

var cifarInfo = Info{
	Name:          "cifar10",
	Description:   "CIFAR-10: 32x32 colour photographs of ten kinds of things (Krizhevsky 2009)",
	TrainExamples: cifarBatch * cifarBatches, TestExamples: cifarBatch,
}

var fashionInfo = Info{
	Name:          "fashion-mnist",
	Description:   "Fashion-MNIST: 28x28 grey pictures of ten kinds of clothing (Xiao, Rasul, Vollgraf 2017), MIT",
	TrainExamples: fashionTrain, TestExamples: fashionTest,
}
