-- The health of a CanaryPlan or CanaryRun, for Argo CD, read from its conditions.
--
-- Progressing: a run is under way, or canaryd has not read this version of the plan yet.
-- Suspended:   the traffic is held; a person or more evidence is waited for.
-- Degraded:    the plan was refused, the release was rolled back, or others have moved the traffic since its end.
-- Healthy:     the release is promoted, or there is nothing to do.

local status = obj.status
if status == nil or status.conditions == nil then
  return { status = "Progressing", message = "canaryd has not looked at it yet" }
end
if status.observedGeneration ~= nil and status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "canaryd has not read this version yet" }
end

local conditions = {}
for _, condition in ipairs(status.conditions) do
  conditions[condition.type] = condition
end

local function is(kind, wanted)
  return conditions[kind] ~= nil and conditions[kind].status == wanted
end

local why = status.why or ""
if is("Accepted", "False") then
  return { status = "Degraded", message = conditions.Accepted.message }
end
if is("Finished", "True") then
  if not is("Promoted", "True") then
    return { status = "Degraded", message = why }
  end
  if is("TrafficAsDecided", "False") then
    return { status = "Degraded", message = conditions.TrafficAsDecided.message }
  end
  return { status = "Healthy", message = why }
end
if status.phase == "rolling back" then
  return { status = "Degraded", message = why }
end
if is("Held", "True") then
  return { status = "Suspended", message = conditions.Held.message }
end
if conditions.Finished == nil then
  return { status = "Healthy", message = why }
end
return { status = "Progressing", message = why }
