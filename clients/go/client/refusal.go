package client

import (
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

// Refusal is a failed call with its details unpacked. Act on Reason; Domain is empty when it was not apitokend that
// refused, but the network or gRPC itself.
type Refusal struct {
	Code       string
	Domain     string
	Reason     string
	SQLState   string
	Violations []*errdetails.BadRequest_FieldViolation
}

// RefusalOf reads the error that a call returned.
func RefusalOf(err error) Refusal {
	answer := status.Convert(err)
	refusal := Refusal{Code: code.Code(answer.Code()).String()}
	for _, detail := range answer.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			refusal.Domain = detail.GetDomain()
			refusal.Reason = detail.GetReason()
			refusal.SQLState = detail.GetMetadata()["sql_state"]
		case *errdetails.BadRequest:
			refusal.Violations = detail.GetFieldViolations()
		}
	}
	return refusal
}

func (r Refusal) String() string {
	text := r.Code
	if r.Domain != "" {
		text += fmt.Sprintf(" %s/%s %s", r.Domain, r.Reason, r.SQLState)
	}
	for _, violation := range r.Violations {
		text += fmt.Sprintf(" [%s: %s]", violation.GetField(), violation.GetDescription())
	}
	return text
}
