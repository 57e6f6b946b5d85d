import app_types

def make_calls():
    for i in range(100):
       input = Input(i);
       pyboinc_call('app_slave.py', input)

def handle_result(output):
    global sum
    sum += output.value

sum = 0

pyboinc_master(make_calls, handle_result)

print("The answer is %d" % sum)
