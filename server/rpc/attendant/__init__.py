"""`attendant.v1.AttendantService`: typed and shaped by task, the codec inside."""

SERVICE = "attendant.v1.AttendantService"
