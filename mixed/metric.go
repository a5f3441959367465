package mixed

import "fmt"

// Metrics are what a trial measured: over its last epoch as trained, and
// afterwards on a part of the training data that it did not see.
type Metrics struct {
	TrainAccuracy   float64 `json:"train_accuracy"`
	TrainLoss       float64 `json:"train_loss"`
	HeldOutAccuracy float64 `json:"held_out_accuracy"`
	HeldOutLoss     float64 `json:"held_out_loss"`
	Seconds         float64 `json:"seconds"`
}

// Metric names the figure of Metrics by which trials are compared.
type Metric string

// Metrics to compare by.
const (
	HeldOutAccuracy Metric = "held-out-accuracy"
	HeldOutLoss     Metric = "held-out-loss"
	TrainAccuracy   Metric = "train-accuracy"
	TrainLoss       Metric = "train-loss"
)

// Validate returns an error if there is no such metric.
func (m Metric) Validate() error {
	switch m {
	case HeldOutAccuracy, HeldOutLoss, TrainAccuracy, TrainLoss:
		return nil
	}
	return fmt.Errorf("mixed: metric %q, want %s, %s, %s or %s", m, HeldOutAccuracy, HeldOutLoss, TrainAccuracy, TrainLoss)
}

// HeldOut reports whether the metric needs held-out examples.
func (m Metric) HeldOut() bool { return m == HeldOutAccuracy || m == HeldOutLoss }

// Of returns the metric as a figure that is better when larger: an accuracy, or
// minus a loss. The metric must be valid.
func (m Metric) Of(x Metrics) float64 {
	switch m {
	case HeldOutAccuracy:
		return x.HeldOutAccuracy
	case TrainAccuracy:
		return x.TrainAccuracy
	case HeldOutLoss:
		return -x.HeldOutLoss
	}
	return -x.TrainLoss
}
